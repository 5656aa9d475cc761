"""File uploads through the guarded session. The SDK's own go through `httplib2`, with the key in a URL."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from io import IOBase
from typing import Any

from google.api_core import exceptions

_FAILED = 400  # HTTP statuses from here on are errors


def uploader(client: Any) -> Callable[..., Any]:
    """Return what takes the place of `create_file` of the SDK's file client."""

    def create_file(  # noqa: PLR0913 - the SDK's signature
        path: str | pathlib.Path | os.PathLike[str] | IOBase,
        *,
        mime_type: str | None = None,
        name: str | None = None,
        display_name: str | None = None,
        resumable: bool = True,  # noqa: ARG001 - one way for both
        metadata: Sequence[tuple[str, str]] = (),
    ) -> Any:
        content = path.read() if isinstance(path, IOBase) else pathlib.Path(path).read_bytes()
        described = {"name": name, "displayName": display_name, "mimeType": mime_type}
        transport = client._transport  # noqa: SLF001 - host and session of the SDK's REST client
        kind = mime_type or "application/octet-stream"
        started = transport._session.post(  # noqa: SLF001
            f"{transport._host}/upload/v1beta/files",  # noqa: SLF001
            json={"file": {key: value for key, value in described.items() if value is not None}},
            headers={
                **dict(metadata),
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(len(content)),
                "X-Goog-Upload-Header-Content-Type": kind,
            },
        )
        _check(started)
        done = transport._session.post(  # noqa: SLF001
            started.headers["x-goog-upload-url"],
            data=content,
            headers={"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0", "Content-Type": kind},
        )
        _check(done)
        return client.get_file({"name": done.json()["file"]["name"]})

    return create_file


def _check(response: Any) -> None:
    if response.status_code >= _FAILED:
        raise exceptions.from_http_response(response)  # type: ignore[no-untyped-call]  # untyped in the SDK
