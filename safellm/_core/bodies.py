"""Request bodies of every form, each giving its texts as fields and its bytes back after changes."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import chain
from typing import Protocol

from safellm._core import jsontext, multipart
from safellm._core.documents import HEAD, is_document
from safellm._core.effects import JSON
from safellm._core.fields import PLAIN, Document, Field, Kind, Table, Trust, open_arguments, read
from safellm._core.textfiles import FileBody, looks_like_text, read_file

_DATA = Kind.DATA
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks (RFC 2781)
_OTHER_UNICODE = (
    *_UTF_16,
    b"{\0",
    b"\0{",
    b"[\0",
    b"\0[",
    b"\0\0\0{",
    b"\0\0\0[",
)  # how JSON begins in UTF-16 and UTF-32 (RFC 4627 3)
_RECORDED = ("audio/", "image/", "video/", "font/")
_FORM = "application/x-www-form-urlencoded"
_DATA_URL = 256  # characters of the head of a data URL
_HEAD64 = HEAD // 3 * 4  # characters of base64 that tell what a file is
_ONE_ALPHABET = str.maketrans("-_", "+/", "\r\n")
_TEXT_MEDIA = frozenset(
    {"application/json", "application/jsonl", "application/x-ndjson", "application/xml", "application/x-javascript",
     "application/x-python", "application/rtf", "application/yaml"}
)  # fmt: skip


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

    def documents(self) -> Iterator[bytes]:
        """Yield the PDF and office files in it."""
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

    def documents(self) -> Iterator[bytes]:
        """Yield the bytes if they are such a file."""
        return iter((self.data,) if is_document(self.data[:HEAD]) else ())

    def fields(self) -> Iterator[Field]:
        """Yield nothing."""
        return iter(())

    def encode(self) -> bytes:
        """Return the bytes."""
        return self.data


@dataclass(slots=True)
class InlineText:
    """A text file inside a JSON body: base64, which would hide what it says."""

    holder: Field
    prefix: str  # of a data URL, or empty
    text: TextBody | FileBody
    alphabet: bytes  # the last two of the 64 characters

    def fold(self) -> None:
        """Write the text back, encoded as it was."""
        encoded = base64.b64encode(self.text.encode(), self.alphabet).decode("ascii")
        self.holder.put(self.prefix + encoded)


@dataclass(slots=True)
class JsonBody:
    """One JSON text."""

    document: Document
    value: JSON  # the document's own
    tokens: int = 0  # integers that stand for text
    data: list[Field] = dataclass_field(default_factory=list)  # base64
    inline: list[InlineText] = dataclass_field(default_factory=list)  # what of it is text

    @property
    def binary_bytes(self) -> int:
        """Base64 content, three bytes for each four characters; and text that comes as tokens, at least a byte for each."""
        if not self.data:
            return self.tokens
        opened = {id(one.holder) for one in self.inline}
        return self.tokens + sum([len(one.text) * 3 // 4 for one in self.data if id(one) not in opened])

    def documents(self) -> Iterator[bytes]:
        """Yield such files that stand in it as base64."""
        opened = {id(one.holder) for one in self.inline}
        for one in self.data:
            if (
                id(one) not in opened
                and is_document(_base64_head(one.text))
                and (data := _decoded(one.text)) is not None
            ):
                yield data

    def fields(self) -> Iterator[Field]:
        """Yield every text."""
        if not self.inline and not self.document.nested:
            return iter(self.document.fields)
        return chain(self.document.all_fields(), *[one.text.fields() for one in self.inline])

    def encode(self) -> bytes:
        """Return the bytes after changes."""
        for one in self.inline:
            one.fold()
        return self.document.encode()


@dataclass(slots=True)
class TextBody:
    """Plain text, or JSON lines: each line that is JSON is opened, so that escapes hide nothing."""

    lines: list[Document | str]
    value: JSON = None
    binary_bytes: int = 0

    def documents(self) -> Iterator[bytes]:
        """Yield nothing."""
        return iter(())

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
    texts: list[tuple[multipart.Part, TextBody | FileBody]]
    heads: list[str]  # of each part: they hold its name and the file's
    value: JSON = None

    @property
    def binary_bytes(self) -> int:
        """Bytes of the parts that can't be searched."""
        known = {id(part) for part, _ in self.texts}
        images = sum(text.binary_bytes for _, text in self.texts)
        return images + sum(len(part.content) for part in self.parts if id(part) not in known)

    def documents(self) -> Iterator[bytes]:
        """Yield the parts that are such files."""
        known = {id(part) for part, _ in self.texts}
        return (part.content for part in self.parts if id(part) not in known and is_document(part.content[:HEAD]))

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
    """Return the body that these bytes are, by their declared type, or by what they look like where that says nothing.

    Raises:
        jsontext.Malformed: announced as JSON, and isn't.
        multipart.Malformed: announced as multipart, and isn't.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not data:
        return OpaqueBody(b"")
    if kind.startswith("multipart/"):
        return _read_multipart(data, content_type, table, max_depth)
    if kind == _FORM:
        raise jsontext.Malformed(
            "a form in this encoding is read by no guard"
        )  # passing it on would leave it unsearched
    declared = kind in ("application/json", "") or kind.endswith("+json")
    is_text = is_text_media(kind)
    undeclared = not (declared or is_text) and _is_undeclared(kind, data)
    if declared or (undeclared and _is_json(data)):
        document = read(jsontext.loads(data, max_depth=max_depth), table)
        open_arguments(document, max_depth=max_depth)
        held = [one for one in document.fields if one.kind is _DATA]
        inline = [found for one in held if (found := _inline_text(one, table, max_depth)) is not None] if held else []
        return JsonBody(document, document.value, _tokens(document.value, table), held, inline)
    if data.startswith(_OTHER_UNICODE) and not kind.startswith(_RECORDED):
        raise jsontext.Malformed("text that is not UTF-8")  # some servers read it all the same
    text = read_text(data, table, max_depth=max_depth) if is_text or undeclared else None
    return OpaqueBody(data) if text is None else text


def _is_undeclared(kind: str, data: bytes) -> bool:
    """Return whether only a look at a body tells what it is: a type's name proves nothing, and libraries make some up.

    An offer of SDP is left alone (RFC 8866): the addresses in it are its purpose.
    """
    if kind == "application/sdp":
        return not data.startswith(b"v=0")
    return not kind.startswith(_RECORDED) or is_utf_8(data)


def is_utf_8(data: bytes) -> bool:
    """Return whether bytes are UTF-8 (RFC 3629)."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_json(data: bytes) -> bool:
    """Return whether bytes of no declared type are meant as one JSON text; JSON lines aren't."""
    return data.lstrip()[:1] in (b"{", b"[") and b"\n{" not in data


def read_upload(data: bytes, table: Table, *, max_depth: int) -> Body:
    """Return a file, or a piece of one, that a request's body is. Text is text whatever it is called."""
    text = read_text(data, table, max_depth=max_depth, own=True)
    return OpaqueBody(data) if text is None else text


def read_text(data: bytes, table: Table, *, max_depth: int, own: bool = False) -> TextBody | FileBody | None:
    """Return plain text or JSON lines; None when the bytes are no text.

    Args:
        data: The bytes.
        table: How to read JSON that the provider understands.
        max_depth: Deepest nesting of JSON that is accepted.
        own: The program's own file: what keys are called in it means nothing, except in the lines of a batch.
    """
    if own and not _is_batch(data, max_depth):
        return None if is_document(data[:HEAD]) and not is_utf_8(data) else read_file(data, max_depth=max_depth)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None if is_document(data[:HEAD]) else read_file(data, max_depth=max_depth)
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


def is_text_media(media: str) -> bool:
    """Return whether a media type is one of texts."""
    kind = media.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _TEXT_MEDIA


def _base64_head(text: str) -> bytes:
    start = text.find(",", 0, _DATA_URL) + 1
    return _decoded(text[start : start + _HEAD64]) or b""


def _decoded(text: str) -> bytes | None:
    """Return the bytes of base64 in either alphabet, in lines or one, padded or not, with a data URL's head or without.

    None when it is none.
    """
    encoded = text[text.find(",", 0, _DATA_URL) + 1 :].translate(_ONE_ALPHABET).rstrip()
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        return None


def _inline_text(one: Field, table: Table, max_depth: int) -> InlineText | None:
    """Return the text that stands as base64 in a field. A declared type proves nothing: the bytes tell."""
    prefix, _, encoded = one.text.rpartition(",")
    head = _base64_head(one.text)
    if not head or is_document(head) or not looks_like_text(head):
        return None  # it stays what can't be searched, and follows the policy for that
    data = _decoded(encoded)
    text = read_text(data, table, max_depth=max_depth, own=True) if data else None
    if text is None:
        return None
    alphabet = b"-_" if "-" in encoded or "_" in encoded else b"+/"
    return InlineText(one, prefix + "," if prefix else "", text, alphabet)


def _is_batch(data: bytes, max_depth: int) -> bool:
    """Return whether a file holds calls, one a line: the provider reads them, so their keys mean what they say."""
    if b'"custom_id"' not in data:
        return False
    try:
        return _is_call(jsontext.loads(data.lstrip().partition(b"\n")[0], max_depth=max_depth))
    except jsontext.Malformed:
        return False


def _is_call(value: JSON) -> bool:
    return isinstance(value, dict) and isinstance(value.get("body"), dict) and "custom_id" in value


def _tokens(value: JSON, table: Table) -> int:
    if not isinstance(value, dict) or table.token_keys.isdisjoint(value):
        return 0
    return sum([_integers(value[key]) for key in table.token_keys if key in value])


def _integers(value: JSON) -> int:
    if isinstance(value, list):
        return sum([_integers(item) for item in value])
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
    # What a part calls itself proves nothing, unless it says that it is text: the bytes tell.
    return part.claims_text or (not is_document(part.content[:HEAD]) and looks_like_text(part.content[:HEAD]))
