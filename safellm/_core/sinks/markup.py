"""Text inside HTML, XML, LaTeX and Jinja templates.

Sources: HTML Standard 13.1.2 and 13.3; XML 1.0 (5th edition) 2.2, 2.4, 3.3.3; LaTeX2e reference, "Special characters".
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

from safellm._core.sinks.escaped import HTML, XML, Jinja, LaTeX, done_already

_BASIC = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
# A backquote opened an attribute value in old browsers, and braces open expressions of client-side templates.
_HTML = str.maketrans({**_BASIC, "`": "&#96;", "{": "&#123;", "}": "&#125;", "\r": "&#13;"})
_XML = str.maketrans({**_BASIC, "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})
_NOT_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_LATEX = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", '"': r"\textquotedbl{}", "-": "{-}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    }
)  # fmt: skip


def html(text: str) -> HTML:
    """Return the text for an element's content or a quoted attribute value.

    An object with `__html__` (MarkupSafe, Django) says that it is HTML and is believed. Not for script, style, event handlers,
    URLs or attribute values without quotes: there HTML escaping protects from nothing. Characters that HTML can't hold become
    U+FFFD.
    """
    known = done_already(text, HTML)
    if known is not None:
        return known
    maker = getattr(text, "__html__", None)
    if maker is not None:
        return HTML(maker())
    return HTML(_NOT_HTML.sub("\ufffd", text).translate(_HTML))


def xml(text: str) -> XML:
    """Return the text for an element's content or a quoted attribute value; what XML can't hold becomes U+FFFD."""
    known = done_already(text, XML)
    return XML(_NOT_XML.sub("\ufffd", text).translate(_XML)) if known is None else known


def latex(text: str) -> LaTeX:
    """Return the text for a paragraph: no command, no mathematics, no comment, no ligature; controls are taken out."""
    known = done_already(text, LaTeX)
    return LaTeX(_NOT_LATEX.sub("", text).translate(_LATEX)) if known is None else known


def jinja(text: str) -> Jinja:
    """Return template source that renders the text: one expression with a string literal in it.

    With autoescape on, the rendered text is HTML-escaped as any value is. Templates with other delimiters than `{{ }}` need
    the text as a variable instead, which is the better way everywhere.
    """
    known = done_already(text, Jinja)
    if known is not None:
        return known
    literal = text.encode("unicode_escape", "surrogatepass").decode("ascii").replace('"', '\\"')
    return Jinja('{{ "' + literal.replace("{", "\\x7b").replace("}", "\\x7d").replace("%", "\\x25") + '" }}')
