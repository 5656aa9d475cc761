"""What a sink returns: a text with a type of its own, so that it can't be escaped twice or taken for a raw one.

Joining two of them, slicing or formatting gives an ordinary `str` again: only the whole text is known to be safe, so what comes
out must pass a sink of its own.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import ClassVar, TypeVar


class Escaped(str):
    """A text that was escaped for one context."""

    __slots__ = ()
    sink: ClassVar[str] = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str.__repr__(self)})"


class HTML(Escaped):
    """Text for an element's content or a quoted attribute. Template engines take it as it is (MarkupSafe's `__html__`)."""

    __slots__ = ()
    sink = "html"

    def __html__(self) -> str:
        return str(self)


class XML(Escaped):
    """Text for an element's content or a quoted attribute."""

    __slots__ = ()
    sink = "xml"


class LaTeX(Escaped):
    """Text for a paragraph or an argument."""

    __slots__ = ()
    sink = "latex"


class Jinja(Escaped):
    """Template source that renders the text."""

    __slots__ = ()
    sink = "jinja"


class Markdown(Escaped):
    """Markdown that fetches nothing and hides no address."""

    __slots__ = ()
    sink = "markdown"


class Terminal(Escaped):
    """Text that drives no terminal."""

    __slots__ = ()
    sink = "terminal"


class LogLine(Escaped):
    """One line of a log."""

    __slots__ = ()
    sink = "log"


class CSVCell(Escaped):
    """One cell of a row."""

    __slots__ = ()
    sink = "csv"


class JSONText(Escaped):
    """A JSON value, safe inside an HTML script element."""

    __slots__ = ()
    sink = "json"


class ShellArgument(Escaped):
    """One argument of a POSIX shell's command."""

    __slots__ = ()
    sink = "shell_arg"


class SQLLiteral(Escaped):
    """A string literal."""

    __slots__ = ()
    sink = "sql_literal"


class PythonLiteral(Escaped):
    """A string literal."""

    __slots__ = ()
    sink = "python_literal"


class URLPart(Escaped):
    """One segment of a path, or a name or value of a query."""

    __slots__ = ()
    sink = "url"


class FileName(Escaped):
    """A relative path that stays below where it is put."""

    __slots__ = ()
    sink = "path"


_Kind = TypeVar("_Kind", bound=Escaped)


def done_already(text: str, kind: type[_Kind]) -> _Kind | None:
    """Return the text if it was escaped for this context, None if it is raw.

    Raises:
        TypeError: it is no text, or was escaped for another context.
    """
    if isinstance(text, kind):
        return text
    if isinstance(text, Escaped):
        msg = f"this text was escaped for {text.sink} already; give the raw text to the {kind.sink} sink"
        raise TypeError(msg)
    if not isinstance(text, str):
        # for programs that aren't type-checked
        msg = f"the {kind.sink} sink takes text, not {type(text).__name__}"  # type: ignore[unreachable]
        raise TypeError(msg)
    if hasattr(text, "__html__") and kind is not HTML:
        msg = f"this text is HTML already; give the raw text to the {kind.sink} sink"
        raise TypeError(msg)
    return None


def refuse(kind: type[Escaped], why: str) -> ValueError:
    """Return the error for a text that has no safe form in a context; the message holds nothing of it."""
    return ValueError(f"this text can't go into the {kind.sink} sink: {why}")
