"""Request bodies of every form, each giving its texts as fields and its bytes back after changes."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from safellm._core import jsontext, multipart
from safellm._core.effects import JSON
from safellm._core.fields import PLAIN, Document, Field, Kind, Table, Trust, open_arguments, read

_UNSAID = ("", "application/octet-stream")
_FORM = "application/x-www-form-urlencoded"


class Body(Protocol):
    """What the guards see of a request's body."""

    @property
    def value(self) -> JSON:
        """The parsed JSON, or None when the body is none."""
        ...

    @property
    def binary_bytes(self) -> int:
        """How many bytes can't be searched."""
        ...

    def fields(self) -> Iterator[Field]:
        """Yield every text."""
        ...

    def encode(self) -> bytes:
        """Return the bytes after changes."""
        ...


@dataclass(slots=True)
class OpaqueBody:
    """Bytes that aren't text, or nothing at all."""

    data: bytes
    value: JSON = None

    @property
    def binary_bytes(self) -> int:
        """How many bytes can't be searched."""
        return len(self.data)

    def fields(self) -> Iterator[Field]:
        """Yield nothing."""
        return iter(())

    def encode(self) -> bytes:
        """Return the bytes."""
        return self.data


@dataclass(slots=True)
class JsonBody:
    """One JSON text."""

    document: Document
    tokens: int = 0  # integers that stand for text

    @property
    def value(self) -> JSON:
        """The parsed JSON."""
        return self.document.value

    @property
    def binary_bytes(self) -> int:
        """Base64 content, three bytes for each four characters; and text that comes as tokens, at least a byte for each."""
        return self.tokens + sum(len(one.text) * 3 // 4 for one in self.document.fields if one.kind is Kind.DATA)

    def fields(self) -> Iterator[Field]:
        """Yield every text."""
        return self.document.all_fields()

    def encode(self) -> bytes:
        """Return the bytes after changes."""
        return self.document.encode()


@dataclass(slots=True)
class TextBody:
    """Plain text, or JSON lines: each line that is JSON is opened, so that escapes hide nothing."""

    lines: list[Document | str]
    value: JSON = None
    binary_bytes: int = 0

    def fields(self) -> Iterator[Field]:
        """Yield every text."""
        for index, line in enumerate(self.lines):
            if isinstance(line, Document):
                yield from line.all_fields()
            else:
                yield Field(
                    container=self.lines, key=index, text=line, kind=Kind.TEXT, trust=Trust.UNTRUSTED, path=(index,)
                )

    def encode(self) -> bytes:
        """Return the bytes after changes."""
        return b"\n".join(
            line.encode() if isinstance(line, Document) else line.encode("utf-8", "surrogatepass")
            for line in self.lines
        )


@dataclass(slots=True)
class MultipartBody:
    """A form: fields and files."""

    parts: list[multipart.Part]
    boundary: bytes
    texts: list[tuple[multipart.Part, TextBody]]
    heads: list[str]  # of each part: they hold its name and the file's
    value: JSON = None

    @property
    def binary_bytes(self) -> int:
        """Bytes of the parts that can't be searched."""
        known = {id(part) for part, _ in self.texts}
        return sum(len(part.content) for part in self.parts if id(part) not in known)

    def fields(self) -> Iterator[Field]:
        """Yield every text."""
        for index, head in enumerate(self.heads):
            yield Field(
                container=self.heads, key=index, text=head, kind=Kind.NAME, trust=Trust.UNTRUSTED, path=(index, "head")
            )
        for _, text in self.texts:
            yield from text.fields()

    def encode(self) -> bytes:
        """Return the bytes after changes."""
        for part, head in zip(self.parts, self.heads, strict=True):
            part.head = head.encode("utf-8", "surrogateescape")
        for part, text in self.texts:
            part.content = text.encode()
        return multipart.join(self.parts, self.boundary)


def read_body(data: bytes, content_type: str, table: Table, *, max_depth: int) -> Body:
    """Return the body that these bytes are, by their declared type.

    Raises:
        jsontext.Malformed: announced as JSON, and isn't.
        multipart.Malformed: announced as multipart, and isn't.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not data:
        return OpaqueBody(b"")
    if kind in ("application/json", "") or kind.endswith("+json"):
        document = read(jsontext.loads(data, max_depth=max_depth), table)
        open_arguments(document, max_depth=max_depth)
        return JsonBody(document, _tokens(document.value, table))
    if kind == "multipart/form-data":
        return _read_multipart(data, content_type, table, max_depth)
    if kind.startswith("text/") or kind in ("application/x-ndjson", "application/jsonl"):
        text = read_text(data, table, max_depth=max_depth)
        return OpaqueBody(data) if text is None else text
    if kind == _FORM:
        raise jsontext.Malformed(
            "a form in this encoding is read by no guard"
        )  # passing it on would leave it unsearched
    return OpaqueBody(data)


def read_text(data: bytes, table: Table, *, max_depth: int, own: bool = False) -> TextBody | None:
    """Return plain text or JSON lines; None when the bytes aren't UTF-8.

    Args:
        data: The bytes.
        table: How to read JSON that the provider understands.
        max_depth: Deepest nesting of JSON that is accepted.
        own: The program's own file: what keys are called in it means nothing, except in the lines of a batch.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if text[:1] not in ("{", "["):
        return TextBody([text])
    lines: list[Document | str] = []
    for line in text.split("\n"):
        if not line.strip():
            lines.append(line)
            continue
        try:
            value = jsontext.loads(line.encode(), max_depth=max_depth)
        except jsontext.Malformed:
            # Not JSON lines: one JSON text over several lines, or something else. Its raw text is searched all the same.
            return _one_document(data, text, PLAIN if own else table, max_depth)
        document = read(value, PLAIN if own and not _is_call(value) else table)
        open_arguments(document, max_depth=max_depth)
        lines.append(document)
    return TextBody(lines)


def _is_call(value: JSON) -> bool:
    return isinstance(value, dict) and isinstance(value.get("body"), dict) and "custom_id" in value


def _tokens(value: JSON, table: Table) -> int:
    return sum(_integers(value.get(key)) for key in table.token_keys) if isinstance(value, dict) else 0


def _integers(value: JSON) -> int:
    if isinstance(value, list):
        return sum(_integers(item) for item in value)
    return int(isinstance(value, int) and not isinstance(value, bool))


def _one_document(data: bytes, text: str, table: Table, max_depth: int) -> TextBody:
    try:
        document = read(jsontext.loads(data, max_depth=max_depth), table)
    except jsontext.Malformed:
        return TextBody([text])
    return TextBody([document])


def _read_multipart(data: bytes, content_type: str, table: Table, max_depth: int) -> MultipartBody:
    boundary = multipart.boundary_of(content_type)
    parts = multipart.split(data, boundary)
    texts = []
    for part in parts:
        if _is_text(part) and table.kind_of(part.name, "") is not Kind.OPAQUE:
            text = read_text(part.content, table, max_depth=max_depth, own=part.file_name is not None)
            if text is not None:
                texts.append((part, text))
    heads = [part.head.decode("utf-8", "surrogateescape") for part in parts]
    return MultipartBody(parts, boundary, texts, heads)


def _is_text(part: multipart.Part) -> bool:
    # Bytes that were given without a name or a type say nothing of themselves; a zero byte says that they are no text.
    return part.claims_text or (part.media_type in _UNSAID and b"\0" not in part.content)
