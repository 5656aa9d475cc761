"""Output escaping: what a model wrote, on its way into another language.

    from safellm import sinks

    page = f"<p>{sinks.html(answer)}</p>"
    row = ",".join(sinks.csv(cell) for cell in cells)

Each function takes raw text and returns a text with a type of its own: it isn't escaped twice, and one that was escaped for
another context is refused. Every result comes back through a real parser of its language as the text that went in, except
where the function says what it takes out.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.sinks.code import json, python_literal, shell_arg, sql_literal
from safellm._core.sinks.data import csv, log, path, terminal, url
from safellm._core.sinks.escaped import Escaped
from safellm._core.sinks.markup import html, jinja, latex, xml
from safellm._core.sinks.showing import markdown

__all__ = [
    "Escaped", "csv", "html", "jinja", "json", "latex", "log", "markdown", "path", "python_literal", "shell_arg", "sql_literal",
    "terminal", "url", "xml",
]  # fmt: skip
