"""Multipart bodies (RFC 7578, RFC 2046 5.1), cut into parts and joined again byte for byte."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_PARTS = 1000  # an upload has a handful; the bound keeps a crafted body from costing more than its bytes
# RFC 2046: 1 to 70 characters.
_BOUNDARY = re.compile(r"""boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)
_FILE_NAME = re.compile(rb'[;\s]filename="([^"]*)"', re.IGNORECASE)
_TYPE = re.compile(rb"^content-type:[ \t]*([^\s;]+)", re.IGNORECASE | re.MULTILINE)
_TEXT_ENDINGS = (
    ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html", ".htm", ".log", ".ini", ".toml",
    ".py", ".js", ".ts", ".java", ".c", ".cpp", ".h", ".cs", ".go", ".rb", ".rs", ".php", ".sh", ".sql", ".css", ".tex",
    ".srt", ".vtt", ".env", ".ipynb",
)  # fmt: skip


class Malformed(ValueError):
    """The body is not the multipart body that its header announces."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One part: its header block and its content, both as they stood."""

    head: bytes
    content: bytes

    @property
    def name(self) -> str:
        """The form field's name."""
        found = _NAME.search(self.head)
        return found[1].decode("utf-8", "replace") if found else ""

    @property
    def file_name(self) -> str | None:
        """The file's name, or None for an ordinary form field."""
        found = _FILE_NAME.search(self.head)
        if found:
            return found[1].decode("utf-8", "replace")
        return "" if _FILE.search(self.head) else None

    @property
    def media_type(self) -> str:
        """The declared type in lower case, or an empty text."""
        found = _TYPE.search(self.head)
        return found[1].decode("ascii", "replace").lower() if found else ""

    @property
    def claims_text(self) -> bool:
        """Whether the part says that it is text: a form field, a text type or a text file's name."""
        if self.file_name is None:
            return True
        kind = self.media_type
        return (
            kind.startswith("text/")
            or kind in {"application/json", "application/jsonl", "application/x-ndjson", "application/xml"}
            or self.file_name.lower().endswith(_TEXT_ENDINGS)
        )


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type header names.

    Raises:
        Malformed: it names none.
    """
    found = _BOUNDARY.search(content_type)
    if not found:
        raise Malformed("no boundary")
    return (found[1] or found[2]).encode("ascii", "replace")


def split(body: bytes, boundary: bytes) -> list[Part]:
    """Return the parts of a body.

    Raises:
        Malformed: it doesn't begin with the boundary, doesn't end with the closing one, or a part has no header block.
    """
    delimiter = b"--" + boundary
    if not body.startswith(delimiter + b"\r\n"):
        raise Malformed("no opening boundary")
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(pieces) > _MAX_PARTS or not pieces[-1].startswith(b"--") or pieces[-1].strip(b"\r\n-"):
        raise Malformed("no closing boundary")
    parts = []
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank or not head.startswith(b"\r\n"):
            raise Malformed("a part without a header block")
        parts.append(Part(head=head[2:], content=content))
    return parts


def join(parts: list[Part], boundary: bytes) -> bytes:
    """Return the body of the parts; `join(split(body, b), b) == body` for every body that `split` accepts."""
    body = b"".join(b"--" + boundary + b"\r\n" + part.head + b"\r\n\r\n" + part.content + b"\r\n" for part in parts)
    return body + b"--" + boundary + b"--\r\n"
