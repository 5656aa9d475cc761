"""The provider's endpoints that need no reply of a model: embeddings, moderations, models and files."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from safellm.testing.http_server import Answer, SeenRequest
from safellm.testing.replies import count_tokens
from safellm.testing.wire import JsonObject, error_body

_VECTOR_SIZE = 1536
_VECTOR_SIZES = {"text-embedding-3-large": 3072}
_MODELS_CREATED = 1_735_689_600  # seconds: 2025-01-01 UTC
_KINDS = {403: "permission_error", 429: "requests", 500: "server_error", 503: "server_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_FLAGS = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a `multipart/form-data` body."""

    name: str
    filename: str | None
    content: bytes = field(repr=False)


def ok(body: Mapping[str, Any]) -> Answer:
    """Return a JSON answer with status 200."""
    return Answer(headers=(("content-type", "application/json"),), body=json.dumps(body, ensure_ascii=False).encode())


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Answer:
    """Return an error answer in the provider's form."""
    kind = _KINDS.get(status, "invalid_request_error")
    body = error_body(message, kind=kind, code=code or _CODES.get(status), param=param)
    return Answer(status=status, headers=(("content-type", "application/json"),), body=body)


def tag_of(*parts: object) -> str:
    """Return 32 characters for an id, the same for the same parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32]


def embeddings(body: Mapping[str, Any], model: str) -> Answer:
    """Return one unit vector for each input; it depends on the input alone."""
    given = body["input"]
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else list(given)
    size = int(body.get("dimensions") or _VECTOR_SIZES.get(model, _VECTOR_SIZE))
    data = []
    for index, text in enumerate(inputs):
        vector = _vector(json.dumps(text), size)
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        embedding = packed if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = sum(count_tokens(text) if isinstance(text, str) else len(text) for text in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return ok({"object": "list", "data": data, "model": model, "usage": usage})


def moderations(request: SeenRequest) -> Answer:
    """Return an unflagged result for each input."""
    body = request.json
    if not isinstance(body, dict) or "input" not in body:
        return error(400, "Missing required parameter: 'input'.", param="input")
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_FLAGS, False),
        "category_scores": dict.fromkeys(_FLAGS, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _FLAGS},
    }
    made = {
        "id": f"modr-{tag_of(request.body)}",
        "model": body.get("model", "omni-moderation-latest"),
        "results": [result for _ in inputs],
    }
    return ok(made)


def models(names: tuple[str, ...], wanted: str) -> Answer:
    """Return the list of models, or the one that is wanted."""
    listed = [{"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "loopback"} for name in names]
    if not wanted:
        return ok({"object": "list", "data": listed})
    found = next((model for model in listed if model["id"] == wanted), None)
    return ok(found) if found else error(404, "The model does not exist.", code="model_not_found", param="model")


class FileShelf:
    """The uploaded files of one provider."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[JsonObject, bytes]] = {}

    def answer(self, request: SeenRequest, rest: str) -> Answer:
        """Answer a request to `/v1/files` and below; `rest` is the path after it."""
        if request.method == "POST":
            return self._upload(request)
        file_id, _, part = rest.partition("/")
        if not file_id:
            return ok({"object": "list", "data": [made for made, _ in self._files.values()], "has_more": False})
        if file_id not in self._files:
            return error(404, "No such File object.", param="id")
        made, content = self._files[file_id]
        if request.method == "DELETE":
            del self._files[file_id]
            return ok({"id": file_id, "object": "file", "deleted": True})
        if part == "content":
            return Answer(headers=(("content-type", "application/octet-stream"),), body=content)
        return ok(made)

    def _upload(self, request: SeenRequest) -> Answer:
        parts = {part.name: part for part in read_multipart(request)}
        if "file" not in parts:
            return error(400, "Missing required parameter: 'file'.", param="file")
        content = parts["file"].content
        purpose = parts["purpose"].content.decode("utf-8", "replace") if "purpose" in parts else "user_data"
        made = {
            "id": f"file-{tag_of(len(self._files), request.head, content)[:24]}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": parts["file"].filename or "file",
            "purpose": purpose,
            "status": "processed",
        }
        self._files[str(made["id"])] = (made, content)
        return ok(made)


def read_multipart(request: SeenRequest) -> Iterator[Part]:
    """Yield the parts of a `multipart/form-data` request (RFC 7578); nothing if it is something else."""
    found = re.search(r'boundary="?([^";,\s]+)', request.headers.get("content-type", ""))
    if found is None:
        return
    # The parts are split here and not by `email.parser`, which changes line ends inside binary content.
    mark = b"--" + found[1].encode("latin-1")
    for raw in (b"\r\n" + request.body).split(b"\r\n" + mark)[1:]:
        if raw.startswith(b"--"):
            return
        head, _, content = raw.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode("utf-8", "replace")
        name = re.search(r'[;\s]name="([^"]*)"', text)
        filename = re.search(r'[;\s]filename="([^"]*)"', text)
        yield Part(name=name[1] if name else "", filename=filename[1] if filename else None, content=content)


def _vector(seed: str, size: int) -> list[float]:
    stream = hashlib.shake_256(seed.encode()).digest(size * 2)
    numbers = [value / 32_768 for value in struct.unpack(f"<{size}h", stream)]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]
