"""PDF and office files inside requests: their text, to be searched. Nothing can be hidden in there, so it is refused or counted.

* PDF, with the package `pypdf` (extra `files`).
* Word, Excel, PowerPoint (ISO/IEC 29500), OpenDocument (ISO/IEC 26300), EPUB: XML in a ZIP archive, read here. A declaration
  of a document type, which none of them has, is refused: entities are how XML attacks its readers.

A file that says little may unpack to much, so everything has a limit; what goes beyond is unreadable, like what is encrypted.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from xml.parsers import expat

_PDF, _ZIP, _OLD = b"%PDF-", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PDF_WITHIN = 1024  # bytes before the mark of a PDF file that readers put up with
HEAD = _PDF_WITHIN + len(_PDF)  # bytes that tell what a file is
_MOST_MEMBERS = 10_000
_MOST_BYTES = 256 << 20  # unpacked
_MOST_TEXT = 32 << 20  # characters
_MOST_PAGES = 5_000
_PIECE = 1 << 16
_READ = (".xml", ".rels", ".xhtml", ".html", ".htm")
_ENDS = frozenset(
    {"p", "row", "si", "tr", "br", "h", "h1", "h2", "h3", "li", "div", "comment", "line-break", "table-row", "t-row"}
)
_CELLS = frozenset({"c", "tab", "tc", "td", "table-cell"})
_TARGETS = frozenset({"Target", "href", "xlink:href"})
# Documents whose texts are remembered, and characters of one: a chat sends its history again.
_KEPT, _KEPT_TEXT = 8, 1 << 20


class Unreadable(ValueError):
    """The file can't be searched; the text says why, and nothing of the file."""


def is_document(head: bytes) -> bool:
    """Return whether a file of which this is the beginning (`HEAD` bytes) may be one of these."""
    return head.startswith((_ZIP, _OLD)) or _PDF in head[:HEAD]


_remembered: dict[bytes, tuple[str, ...]] = {}


def texts_of(data: bytes) -> tuple[str, ...] | None:
    """Return the texts of a document, or None when the bytes are another archive, such as Java's.

    Raises:
        Unreadable: encrypted, damaged, too large, of a form before 2007, or a PDF without `pypdf`.
    """
    digest = hashlib.sha256(data).digest()
    if (known := _remembered.get(digest)) is not None:
        return known
    texts = _texts(data)
    if texts is not None and sum(map(len, texts)) <= _KEPT_TEXT:
        for old in list(_remembered)[: len(_remembered) - _KEPT + 1]:  # other threads may do the same
            _remembered.pop(old, None)
        _remembered[digest] = texts
    return texts


def _texts(data: bytes) -> tuple[str, ...] | None:
    if data.startswith(_OLD):
        msg = "office files of the form before 2007 can't be searched"
        raise Unreadable(msg)
    if data.startswith(_ZIP):
        return _office(data)
    return tuple(_bounded(_pdf(data))) if _PDF in data[:HEAD] else None


def _bounded(texts: Iterator[str]) -> Iterator[str]:
    size = 0
    for text in texts:
        size += len(text)
        if size > _MOST_TEXT:
            msg = "it holds more text than is searched"
            raise Unreadable(msg)
        if text.strip():
            yield text


def _pdf(data: bytes) -> Iterator[str]:
    try:
        import pypdf  # noqa: PLC0415 - an extra
    except ImportError:
        msg = "PDF files need the package pypdf: pip install 'safellm[files]'"
        raise Unreadable(msg) from None
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            msg = "it is encrypted"
            raise Unreadable(msg)
        if len(reader.pages) > _MOST_PAGES:
            msg = "it has more pages than are searched"
            raise Unreadable(msg)
        for page in reader.pages:
            yield page.extract_text()
            yield from _notes(page)
        yield "\n".join(str(value) for value in (reader.metadata or {}).values())
        yield "\n".join(
            f"{name}: {field.value}"
            for name, field in (reader.get_fields() or {}).items()
            if isinstance(field.value, str)
        )
    except Unreadable:
        raise
    except Exception:  # noqa: BLE001 - a parser of hostile files may fail in any way; `from None`: frames hold the text
        msg = "it is damaged"
        raise Unreadable(msg) from None


def _notes(page: object) -> Iterator[str]:
    """Yield the notes and the addresses of links on a page of a PDF file."""
    for note in getattr(page, "annotations", None) or ():
        entry = note.get_object()
        action = entry.get("/A", {})
        for value in (entry.get("/Contents"), action.get("/URI") if hasattr(action, "get") else None):
            if value is not None:
                yield str(value)


def _office(data: bytes) -> tuple[str, ...] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if "[Content_Types].xml" not in names and "mimetype" not in names:
                return None
            if len(members) > _MOST_MEMBERS:
                msg = "it has more parts than are searched"
                raise Unreadable(msg)
            return tuple(_bounded(_members(archive, members)))
    except Unreadable:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        expat.ExpatError,
        NotImplementedError,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
    ):
        msg = "it is damaged or encrypted"
        raise Unreadable(msg) from None


def _members(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> Iterator[str]:
    left = _MOST_BYTES
    for member in members:
        if not member.filename.lower().endswith(_READ):
            continue
        reader = _Reader()
        with archive.open(member) as file:
            while piece := file.read(_PIECE):  # what the archive says of its sizes need not be true
                left -= len(piece)
                if left < 0:
                    msg = "it unpacks to more than is searched"
                    raise Unreadable(msg)
                reader.parser.Parse(piece, False)
            reader.parser.Parse(b"", True)
        yield "".join(reader.parts)


class _Reader:
    """Collects the text of one XML file: pieces of a word together, paragraphs and rows on lines, cells apart."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self.parts.append
        self._shared = False  # in a cell that holds the number of a text

    @staticmethod
    def _doctype(_name: str, system: str | None, public: str | None, has_subset: bool) -> None:
        if has_subset or ((system or public) and "xhtml" not in (public or "").lower()):
            msg = "it declares a document type"
            raise Unreadable(msg)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if local == "c":
            self._shared = attributes.get("t") == "s"
        for key in _TARGETS & attributes.keys():
            if ":" in attributes[key]:
                self.parts += ("\n", attributes[key], "\n")
        if local == "v" and self._shared:
            self.parser.CharacterDataHandler = None

    def _end(self, name: str) -> None:
        local = name.rpartition(":")[2]
        if local == "v":
            self.parser.CharacterDataHandler = self.parts.append
        if local in _ENDS:
            self.parts.append("\n")
        elif local in _CELLS:
            self.parts.append("\t")
