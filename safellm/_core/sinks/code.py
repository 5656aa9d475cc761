"""Text as a literal or an argument: JSON, Python, SQL, a POSIX shell.

Sources: RFC 8259; HTML Standard 4.12.1.3 (what may stand in a script element); ISO/IEC 9075-2, 5.3; POSIX.1-2017 XCU 2.2.2.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json as _json
import shlex
from typing import Any, Literal

from safellm._core.sinks.escaped import JSONText, PythonLiteral, ShellArgument, SQLLiteral, done_already, refuse

_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"})


def json(value: Any) -> JSONText:
    """Return a value as JSON in ASCII that may also stand in an HTML script element or a quoted attribute in single quotes.

    Raises:
        ValueError: a number is NaN or infinite, or the value holds itself.
        TypeError: it is no JSON value, or a text that was escaped already.
    """
    if isinstance(value, str):
        known = done_already(value, JSONText)
        if known is not None:
            return known
    return JSONText(_json.dumps(value, allow_nan=False).translate(_IN_SCRIPT))


def python_literal(text: str) -> PythonLiteral:
    """Return the text as a Python string literal in ASCII."""
    known = done_already(text, PythonLiteral)
    return PythonLiteral(ascii(str(text))) if known is None else known


def sql_literal(text: str, *, dialect: Literal["standard", "mysql"] = "standard") -> SQLLiteral:
    """Return the text as a string literal. Where the driver takes parameters, give it parameters instead.

    Args:
        text: Any text.
        dialect: `standard` (PostgreSQL with standard strings, SQLite, Oracle, SQL Server) doubles quotes only; `mysql`
            escapes backslashes too, for servers without NO_BACKSLASH_ESCAPES.

    Raises:
        ValueError: it holds a NUL, at which some servers cut, or half a surrogate pair.
    """
    known = done_already(text, SQLLiteral)
    if known is not None:
        return known
    _check(text, SQLLiteral)
    body = text.replace("'", "''")
    return SQLLiteral(f"'{body}'" if dialect == "standard" else "'{}'".format(body.replace("\\", "\\\\")))


def shell_arg(text: str, *, after_dashes: bool = False) -> ShellArgument:
    """Return the text as one argument for a POSIX shell. Where a list of arguments can be given, give that instead.

    Args:
        text: Any text.
        after_dashes: `--` stands before it in the command, so that a dash at its beginning makes no option of it.

    Raises:
        ValueError: it begins with a dash and `after_dashes` isn't said, or holds a NUL or half a surrogate pair.
    """
    known = done_already(text, ShellArgument)
    if known is not None:
        return known
    _check(text, ShellArgument)
    if text.startswith("-") and not after_dashes:
        raise refuse(ShellArgument, "it begins with a dash and would be read as an option; put -- before it and say so")
    return ShellArgument(shlex.quote(text))


def _check(text: str, kind: type[SQLLiteral | ShellArgument]) -> None:
    if "\0" in text:
        raise refuse(kind, "it holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refuse(kind, "it holds half a surrogate pair") from None
