"""Each sink comes back through a real parser of its language; nothing leaves its context (THREATS O.5)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import codecs
import csv as csv_reader
import html.parser
import io
import json
import re
import shutil
import sqlite3
import subprocess
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import PurePosixPath, PureWindowsPath

import jinja2
import markupsafe
import pyte
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

from safellm import sinks
from safellm._core import hidden
from safellm._core.sinks.escaped import Escaped

# Texts that like to leave their context, and anything else.
NASTY = st.lists(
    st.sampled_from(
        ["'", '"', "\\", "`", "<", ">", "&", "{", "}", "{{", "%}", "{#", "$", "$(id)", "\n", "\r\n", "\r", "\t", " ", ";", "--",
         "/*", "*/", "=", "+", "-", "@", "\u2028", "\u202e", "\x1b[31m", "\x9b", "\0", "]]>", "<!--", "</script>", "é",
         "a", "0", "%41", "/", "..", "&amp;", "\\'", "\\\\", "''", "^^41", "~"]
    ),
    max_size=12,
).map("".join)  # fmt: skip
TEXTS = st.one_of(NASTY, st.text(), st.text(alphabet=st.characters(codec="utf-8")))
UTF8 = st.one_of(NASTY, st.text(alphabet=st.characters(codec="utf-8"))).map(lambda text: text.replace("\0", ""))
ALL = [getattr(sinks, name) for name in sinks.__all__ if name != "Escaped"]


class _Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, attrs))

    def handle_data(self, data):
        self.seen.append(data)


@given(TEXTS)
def test_html_is_text_and_attribute(text):
    """A parser sees one element, one attribute and the text; nothing else begins in it."""
    safe = sinks.html(text)
    reader = _Reader()
    reader.feed(f'<p title="{safe}">{safe}</p>')
    reader.close()
    (tag, attributes), *data = reader.seen
    expected = "".join("\ufffd" if sinks.html(one) == "\ufffd" else one for one in text)
    assert (tag, attributes) == ("p", [("title", expected)])
    assert "".join(data) == expected


@given(TEXTS)
def test_xml_comes_back(text):
    """Through expat, in content and in an attribute."""
    safe = sinks.xml(text)
    root = ET.fromstring(f"<r a='{safe}'>{safe}</r>")
    expected = "".join("\ufffd" if sinks.xml(one) == "\ufffd" else one for one in text)
    assert (root.text or "") == root.attrib["a"] == expected


@given(TEXTS)
def test_json_comes_back_and_stands_in_a_script(text):
    """Also as a key and inside lists; no tag, comment or quote can end the element."""
    for value in (text, [text], {text: text}):
        safe = sinks.json(value)
        assert json.loads(safe) == value
        assert not set(safe) & set("<>&'\u2028")
        assert safe.isascii()


@given(TEXTS)
def test_python_literal_comes_back(text):
    """Through Python's own reader."""
    assert ast.literal_eval(sinks.python_literal(text)) == text


@given(UTF8)
def test_sql_literal_comes_back(text):
    """Through SQLite."""
    database = sqlite3.connect(":memory:")
    assert database.execute(f"SELECT {sinks.sql_literal(text)}, 'after'").fetchone() == (text, "after")
    database.close()


def test_sql_literal_for_mysql_doubles_backslashes():
    """A backslash before the last quote would take it along."""
    assert sinks.sql_literal("a\\'b", dialect="mysql") == r"'a\\''b'"


@settings(max_examples=25)
@given(st.lists(UTF8, min_size=1, max_size=25))
def test_shell_arguments_come_back(texts):
    """Through a real shell, many at once; no command runs and no file is matched."""
    line = "printf '%s\\0' -- " + " ".join(sinks.shell_arg(text, after_dashes=True) for text in texts)
    done = subprocess.run([shutil.which("sh") or "sh", "-c", line], capture_output=True, check=True, timeout=20)
    assert done.stdout.decode().split("\0")[1 if done.stdout.startswith(b"--\0") else 0 : -1] == texts


def test_a_shell_argument_that_would_be_an_option_is_refused():
    """Unless two dashes stand before it."""
    with pytest.raises(ValueError, match="option"):
        sinks.shell_arg("-rf")
    assert sinks.shell_arg("-rf", after_dashes=True) == "-rf"


@given(st.lists(TEXTS.map(lambda text: text.replace("\0", "")), min_size=2, max_size=5))
def test_csv_comes_back_and_is_no_formula(cells):
    """Through the csv module: a row of the same cells; a formula has a quote before it."""
    line = ",".join(map(sinks.csv, cells)) + "\r\n"
    (row,) = csv_reader.reader(io.StringIO(line, newline=""))
    assert [one.removeprefix("'") for one in row] == [one.removeprefix("'") for one in cells]
    for one in row:
        begins = one.lstrip(" \u200b\ufeff\t\r\n")[:1]
        if begins and begins in "=@\uff1d\uff0b\uff0d\uff20":
            assert one.startswith("'")
        if begins and begins in "+-" and not re.fullmatch(r"[-+]?[0-9][0-9.,eE%+-]*", one):
            assert one.startswith("'")


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", '=HYPERLINK("x")']
)
def test_o_5_formulas_become_text(text):
    """Each form that spreadsheet programs are known to run."""
    assert sinks.csv(text).lstrip('"').startswith("'")


@pytest.mark.parametrize("text", ["-5", "+3.25", "1e-9", "12", "-0,5", "7%", "a=b", "mail@x.test"])
def test_numbers_and_words_stay_as_they_are(text):
    """A table of numbers isn't spoilt."""
    assert sinks.csv(text).strip('"') == text


@given(UTF8)
def test_url_comes_back(text):
    """As a query value and as a path segment of a URL that has nothing else in it."""
    if text in {".", ".."}:
        with pytest.raises(ValueError, match="step"):
            sinks.url(text)
        return
    safe = sinks.url(text)
    parsed = urllib.parse.urlsplit(f"https://h.test/{safe}?q={safe}&r=1#end")
    assert urllib.parse.unquote(parsed.path[1:]) == text
    assert urllib.parse.parse_qs(parsed.query, keep_blank_values=True)["q"] == [text]
    assert (parsed.netloc, parsed.fragment) == ("h.test", "end")


@given(
    st.one_of(
        TEXTS,
        st.lists(st.sampled_from(["a", "..", ".", "/", "\\", "C:", "nul", " ", "b.txt", "~", "\u202e"])).map("".join),
    )
)
@example("a/../../etc")
@example("CON.txt")
@example("a:stream")
def test_a_3_a_path_stays_below_its_folder(text):
    """On POSIX and on Windows, or it is refused."""
    try:
        safe = sinks.path(text)
    except ValueError:
        return
    for kind, root in ((PurePosixPath, "/root/dir"), (PureWindowsPath, "C:\\root\\dir")):
        joined = kind(root) / safe
        assert joined.is_relative_to(root)
        assert ".." not in joined.parts
        assert len(joined.parts) == len(kind(root).parts) + safe.count("/") + 1
    assert safe == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "C:x",
        "\\\\host\\x",
        "nul",
        "COM1.log",
        "a\0b",
        "x.",
        "x ",
        "a\nb",
        "é" * 200,
        "a\u200bb",
    ],
)
def test_paths_that_mean_something_else_somewhere_are_refused(text):
    """Each with an error that doesn't hold the text."""
    with pytest.raises(ValueError, match="path sink") as caught:
        sinks.path(text)
    assert not text.strip() or text not in str(caught.value)


@given(TEXTS)
def test_a_log_line_is_one_line_and_comes_back(text):
    """Nothing that isn't printable is in it."""
    safe = sinks.log(text)
    assert safe.isprintable()
    raw = safe.encode("latin-1", "backslashreplace")
    assert codecs.decode(raw, "unicode_escape") == text


DRIVING = ["\x1b[2J", "\x1b[10;10H", "\x1b]0;t\x07", "\x9b31m", "\r", "\x08", "\x7f", "\x1bc"]


@given(st.lists(st.sampled_from([*"ab \n\t\\", *DRIVING]), max_size=40))
def test_o_3_a_terminal_shows_the_text_and_does_nothing(pieces):
    """Replayed on a terminal, the screen holds the text as it reads, from the top: nothing was moved, erased or coloured."""
    shown = str(sinks.terminal("".join(pieces))).replace("\t", " ")
    screen = pyte.Screen(400, 200)
    pyte.Stream(screen).feed(shown.replace("\n", "\r\n"))
    lines = shown.split("\n")
    assert [line.rstrip() for line in screen.display[: len(lines)]] == [line.rstrip() for line in lines]
    assert all(cell.fg == "default" for row in screen.buffer.values() for cell in row.values())
    assert screen.title == ""


@given(TEXTS)
def test_o_3_terminal_text_has_no_controls(text):
    """Cleaning it again changes nothing."""
    safe = sinks.terminal(text)
    assert hidden.clean(safe) == safe
    assert "\x1b" not in safe
    assert "\x9b" not in safe


@given(TEXTS)
def test_jinja_renders_the_text(text):
    """Also inside other text and with autoescape; no expression of its own runs."""
    for autoescape in (False, True):
        environment = jinja2.Environment(autoescape=autoescape, keep_trailing_newline=True)
        rendered = environment.from_string(f"<{sinks.jinja(text)}>").render()
        expected = str(markupsafe.escape(text)) if autoescape else text
        assert rendered == f"<{expected}>"


@given(st.text(alphabet=st.sampled_from("ab \\{}$&#%_~^<>|\"-'`1\n@[]")))
def test_latex_comes_back(text):
    """Through a LaTeX reader, up to how it treats blanks."""
    known = get_default_latex_context_db()
    macros = {
        "textless": "<",
        "textgreater": ">",
        "textbar": "|",
        "textquotedbl": '"',
        "textquotesingle": "'",
        "textasciigrave": "`",
        "textasciitilde": "~",
        "textasciicircum": "^",
        "textbackslash": "\\",
    }
    specs = [MacroTextSpec(name, meaning) for name, meaning in macros.items()]
    known.add_context_category("text", macros=specs, prepend=True)
    read = LatexNodes2Text(latex_context=known, keep_comments=True).latex_to_text(sinks.latex(text))
    assert "".join(read.split()) == "".join(text.split())


@pytest.mark.parametrize("sink", ALL)
@given(text=UTF8)
def test_nothing_is_escaped_twice(sink, text):
    """The same sink gives it back, another one refuses it, and joined text is raw again."""
    try:
        safe = sink(text)
    except ValueError:
        return
    assert sink(safe) is safe
    for other in ALL:
        if other is not sink and not (other is sinks.html and hasattr(safe, "__html__")):
            with pytest.raises(TypeError, match="already"):
                other(safe)
    assert not isinstance(safe + "x", Escaped)
    assert not isinstance(f"{safe}", Escaped)


def test_markup_of_template_engines_is_honoured():
    """What says that it is HTML is taken as HTML, and ours as well by them; other sinks refuse it."""
    assert sinks.html(markupsafe.Markup("<b>x</b>")) == "<b>x</b>"
    assert markupsafe.escape(sinks.html("<b>")) == "&lt;b&gt;"
    page = jinja2.Environment(autoescape=True).from_string("{{ x }}").render(x=sinks.html("<b>"))
    assert page == "&lt;b&gt;"
    with pytest.raises(TypeError, match="HTML"):
        sinks.latex(markupsafe.Markup("<b>"))


@pytest.mark.parametrize("sink", ALL)
def test_only_text_is_taken(sink):
    """Bytes and numbers are a mistake, except for JSON, which takes any value."""
    if sink is not sinks.json:
        with pytest.raises(TypeError):
            sink(b"x")
