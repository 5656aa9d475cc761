"""Uploads whose body is a file's own bytes, announced by headers (Google's resumable protocol).

* Text is searched like all text. Its length may change, so the length that was announced for it is not sent.
* A text file in several pieces is refused: a secret across two of them would be seen by nobody.
* The file's name in a header is a name like any other.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Route, Upload
from safellm._core.bodies import Body, is_text_media, read_upload
from safellm._core.call import RequestHead
from safellm._core.fields import Field, Kind, Table, Trust
from safellm._core.textfiles import looks_like_text
from safellm.errors import Reason, Refused

_CUT = 3  # bytes of a character that may stand in the next piece (RFC 3629: four at most)


def is_file(head: RequestHead, route: Route) -> bool:
    """Return whether the body is a file's own bytes, whatever its Content-Type says."""
    upload = route.upload
    return upload is not None and (not upload.command or "upload" in _words(head, upload.command))


def read_file(head: RequestHead, body: bytes, upload: Upload, table: Table, *, max_depth: int) -> Body:
    """Return the body of a file.

    Raises:
        Refused: a piece of a text file.
    """
    if upload.command and not _is_whole(head, upload) and _is_text(body):
        raise Refused(
            "A text file that is uploaded in several pieces can't be searched across them",
            guard="mediation",
            reason=Reason.MEDIATION_UNSUPPORTED,
            remedy="Upload it as several files, or as one smaller file.",
            status=400,
        )
    return read_upload(body, table, max_depth=max_depth)


def header_fields(head: RequestHead, route: Route) -> tuple[dict[str, str], list[Field]]:
    """Return the headers that hold names, and a field for each; the fields write into the returned headers."""
    if route.upload is None:
        return {}, []
    names = route.upload.names
    held = {name: text for name in names if (text := head.header(name))}
    fields = [
        Field(container=held, key=name, text=text, kind=Kind.NAME, trust=Trust.UNTRUSTED, path=("headers", name))
        for name, text in held.items()
    ]
    return held, fields


def drops(head: RequestHead, route: Route) -> frozenset[str]:
    """Return the headers that would announce another length than the searched text's."""
    upload = route.upload
    if upload is None or not upload.length or not is_text_media(head.header(upload.media)):
        return frozenset()
    return frozenset({upload.length})


def _is_whole(head: RequestHead, upload: Upload) -> bool:
    return "finalize" in _words(head, upload.command) and head.header(upload.offset) in ("", "0")


def _words(head: RequestHead, name: str) -> set[str]:
    return {word.strip().lower() for word in head.header(name).split(",")}


def _is_text(data: bytes) -> bool:
    # A piece may begin and end inside a character.
    if looks_like_text(data):
        return True
    if b"\0" in data:
        return False
    decoded = data.decode("utf-8", "replace")
    return "\ufffd" not in decoded[_CUT : len(decoded) - _CUT]
