"""Text in tables, addresses, file names, logs and on terminals.

Sources: RFC 4180 and OWASP, "CSV Injection"; RFC 3986, 2; Microsoft, "Naming Files, Paths, and Namespaces"; THREATS O.3, O.5.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from safellm._core.hidden import clean
from safellm._core.sinks.escaped import CSVCell, FileName, LogLine, Terminal, URLPart, done_already, refuse

# What makes a formula of a cell, also in full-width form; and what stands before it without being seen.
_FORMULA = re.compile(r"[\s\u200b\ufeff]*[=+\-@|%\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:[.,]\d{1,30})?(?:[eE][+-]?\d{1,3})?%?")
_QUOTED = re.compile(r"[,;\t|\"\r\n]|^\s|\s$")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|clock\$|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\..*)?", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
_LONGEST_NAME = 255  # bytes, on most file systems


def csv(text: str) -> CSVCell:
    """Return the text as one cell: quoted where it must be, and never a formula for a spreadsheet program.

    What would be a formula gets a single quote before it, as those programs write text themselves; plain numbers stay.
    """
    known = done_already(text, CSVCell)
    if known is not None:
        return known
    body = str(text)
    if _FORMULA.match(body) and not _NUMBER.fullmatch(body):
        body = "'" + body
    if _QUOTED.search(body):
        body = '"' + body.replace('"', '""') + '"'
    return CSVCell(body)


def url(text: str) -> URLPart:
    """Return the text as one segment of a path, or as a name or value of a query, percent-encoded.

    Raises:
        ValueError: it holds half a surrogate pair, or is `.` or `..`, which no encoding keeps from being a step.
    """
    known = done_already(text, URLPart)
    if known is not None:
        return known
    if text in {".", ".."}:
        raise refuse(URLPart, "it would be a step in the path")
    try:
        return URLPart(quote(text, safe="", errors="strict"))
    except UnicodeEncodeError:
        raise refuse(URLPart, "it holds half a surrogate pair") from None


def path(text: str) -> FileName:
    """Return the text as a relative path with forward slashes that means the same on every system and never leads out.

    It looks at the text alone. Whether a part of it is a link on this disk is for whoever opens it.

    Raises:
        ValueError: it is absolute, has a step up, a drive, a device's name, a reserved or hidden character, or is too long.
    """
    known = done_already(text, FileName)
    if known is not None:
        return known
    parts = text.split("/")
    if "\\" in text or not text or any(not part for part in parts):
        raise refuse(FileName, "it is absolute, empty, or has an empty part or a backslash")
    for part in parts:
        if part in {".", ".."}:
            raise refuse(FileName, "it has a step to another folder")
        if _NOT_IN_NAMES.search(part) or clean(part) != part or part != part.strip(" ") or part.endswith("."):
            raise refuse(FileName, "it has a character that names can't have everywhere")
        if _DEVICES.fullmatch(part):
            raise refuse(FileName, "it names a device")
        try:
            size = len(unicodedata.normalize("NFD", part).encode())
        except UnicodeEncodeError:
            raise refuse(FileName, "it holds half a surrogate pair") from None
        if size > _LONGEST_NAME:
            raise refuse(FileName, "a part of it is too long")
    return FileName(text)


def terminal(text: str) -> Terminal:
    """Return the text without anything that drives a terminal or can't be seen: controls are written visibly."""
    known = done_already(text, Terminal)
    return Terminal(clean(text)) if known is None else known


def log(text: str) -> LogLine:
    """Return the text as one line: line ends, controls, hidden characters and the backslash as Python writes them."""
    known = done_already(text, LogLine)
    if known is not None:
        return known
    return LogLine(
        "".join(
            one if one.isprintable() and one != "\\" else one.encode("unicode_escape", "surrogatepass").decode("ascii")
            for one in text
        )
    )
