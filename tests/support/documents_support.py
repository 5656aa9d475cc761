"""Small PDF and office files for tests."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def zipped(members: Mapping[str, str], *, kind: str = "[Content_Types].xml") -> bytes:
    """Return an archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(kind, "<Types/>")
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


def docx(*runs: str) -> bytes:
    """Return a Word file of one paragraph, in so many runs."""
    body = "".join(f"<w:r><w:t>{run}</w:t></w:r>" for run in runs)
    return zipped(
        {"word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body><w:p>{body}</w:p></w:body></w:document>'}
    )


def pdf(text: str) -> bytes:
    """Return a PDF file of one page."""
    content = zlib.compress(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode())
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>\nstream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, one in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = len(out)
    out += (
        b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer\n<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % end
    )
    return bytes(out)
