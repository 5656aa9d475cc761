"""The Gemini API of the loopback provider, as `google-genai` and `google-generativeai` (over REST) call it, and Vertex AI's paths.

* It answers generateContent, streamGenerateContent (as events and as a JSON array), countTokens, embeddings, interactions,
  resumable uploads, and collections of things by name: files, caches, batches, operations and all others.
* Whatever else is asked gets an empty object, so that a program can call every method.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from safellm.testing import google_wire as wire
from safellm.testing.endpoints import ok, tag_of
from safellm.testing.http_server import Answer, SeenRequest
from safellm.testing.replies import Reply

HEADER = "x-goog-api-key"
# What is below `/openai/` speaks that dialect.
_PATH = re.compile(r"^/(?:upload/)?v1(?:alpha|beta)\d*/(?!openai/)|^/upload/|:[A-Za-z]+$")
_TOPIC = re.compile(r"(?:^|/)([A-Za-z_]+)/([^/]+)$")
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}
_ERRORS_FROM = 400
_VECTOR = [0.6, 0.8]
_TIME = "2026-01-01T00:00:00Z"


def speaks(request: SeenRequest) -> bool:
    """Return whether a request is one to Google's API."""
    return HEADER in request.headers or _PATH.search(request.path) is not None


def error(status: int, message: str) -> Answer:
    """Return an error answer in Google's form."""
    inner = {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}
    return Answer(
        status=status, headers=(("content-type", "application/json"),), body=json.dumps({"error": inner}).encode()
    )


class GeminiDialect:
    """Answers requests; remembers what was created.

    Args:
        next_reply: Returns the next scripted reply, or what the given function makes of the request.
        models: Names that are listed.
    """

    def __init__(
        self, next_reply: Callable[[SeenRequest, Callable[[SeenRequest], Reply]], Reply], models: tuple[str, ...]
    ) -> None:
        self._next_reply = next_reply
        self._models = models
        self._made: dict[str, wire.JsonObject] = {}
        self._uploads: dict[str, tuple[wire.JsonObject, bytearray]] = {}
        self._contents: dict[str, bytes] = {}

    def answer(self, request: SeenRequest, tag: str) -> Answer:
        """Answer one request."""
        path, _, verb = request.path.rpartition(":") if ":" in request.path else (request.path, "", "")
        if "/upload/" in request.path:
            return self._upload(request, tag)
        if verb in ("generateContent", "streamGenerateContent", "generateAnswer"):
            return self._generate(request, path, tag, stream=verb == "streamGenerateContent")
        if verb:
            return self._verb(request, path, verb)
        if path.endswith("/interactions") and request.method == "POST":
            return self._interact(request, tag)
        return self._collection(request, path, tag)

    def _generate(self, request: SeenRequest, path: str, tag: str, *, stream: bool) -> Answer:
        reply = self._reply(request)
        events = "alt=sse" in request.query
        kind = "text/event-stream" if events else "application/json"
        if (early := _early(reply, kind)) is not None:
            return early
        model = path.rpartition("/")[2]
        call = wire.Call(tag=tag, model=model, body=request.json or {}, reply=reply)
        if not stream:
            return _sent(reply, "application/json; charset=UTF-8", _encode(wire.whole(call)))
        pieces = wire.chunks(call)
        body = wire.as_events(pieces) if events else wire.as_array(pieces)
        return _sent(reply, kind, body)

    def _interact(self, request: SeenRequest, tag: str) -> Answer:
        reply = self._reply(request)
        if (early := _early(reply, "application/json")) is not None:
            return early
        body = request.json or {}
        call = wire.Call(tag=tag, model=str(body.get("model", body.get("agent", ""))), body=body, reply=reply)
        made = wire.interaction(call)
        self._made[f"interactions/{made['id']}"] = made
        if body.get("stream"):
            return _sent(reply, "text/event-stream", wire.interaction_events(call))
        return _sent(reply, "application/json", _encode(made))

    def _verb(self, request: SeenRequest, path: str, verb: str) -> Answer:
        body = request.json or {}
        if verb in ("countTokens", "computeTokens"):
            return ok({"totalTokens": wire.count_request_tokens(body)})
        if verb == "embedContent":
            return ok({"embedding": {"values": _VECTOR}, "embeddings": [{"values": _VECTOR}]})
        if verb == "batchEmbedContents":
            return ok({"embeddings": [{"values": _VECTOR} for _ in body.get("requests", [{}])]})
        if verb == "predict":
            image = {"mimeType": "image/png", "bytesBase64Encoded": "AAAA"}
            return ok(
                {"predictions": [{**image, "embeddings": {"values": _VECTOR}} for _ in body.get("instances", [{}])]}
            )
        if verb == "download":
            content = self._contents.get(_name(path), b"")
            return Answer(headers=(("content-type", "application/octet-stream"),), body=content)
        return ok({"name": "operations/loopback", "done": True})

    def _upload(self, request: SeenRequest, tag: str) -> Answer:
        command = request.headers.get("x-goog-upload-command", "")
        if request.method == "PUT":
            return ok({"path": request.path})
        if command == "start" or not command:
            described = (request.json or {}).get("file", request.json or {})
            self._uploads[tag] = (described, bytearray())
            where = f"http://{request.headers['host']}{request.path}?upload_id={tag}&upload_protocol=resumable"
            headers = (
                ("content-type", "application/json"),
                ("x-goog-upload-url", where),
                ("x-goog-upload-status", "active"),
            )
            return Answer(headers=headers, body=b"{}")
        found = re.search(r"upload_id=(\w+)", request.query)
        if found is None or found[1] not in self._uploads:
            return error(404, "No such upload.")
        described, content = self._uploads[found[1]]
        content += request.body
        if "finalize" not in command:
            return Answer(headers=(("x-goog-upload-status", "active"),), body=b"")
        made = self._file(described, bytes(content), found[1])
        final = (("content-type", "application/json"), ("x-goog-upload-status", "final"))
        return Answer(headers=final, body=_encode({"file": made}))

    def _file(self, described: wire.JsonObject, content: bytes, tag: str) -> wire.JsonObject:
        name = described.get("name") or f"files/{tag[:12]}"
        made = {
            "name": name,
            "displayName": described.get("displayName", ""),
            "mimeType": described.get("mimeType", "application/octet-stream"),
            "sizeBytes": str(len(content)),
            "createTime": _TIME,
            "updateTime": _TIME,
            "uri": f"https://generativelanguage.googleapis.com/v1beta/{name}",
            "state": "ACTIVE",
            "source": "UPLOADED",
        }
        self._made[name] = made
        self._contents[name] = content
        return made

    def _collection(self, request: SeenRequest, path: str, tag: str) -> Answer:
        name, kind = _name(path), path.rpartition("/")[2]
        if request.method == "POST" and kind not in self._made:
            described = request.json if isinstance(request.json, dict) else {}
            made = {
                "createTime": _TIME,
                "updateTime": _TIME,
                **described,
                "name": f"{kind}/{tag_of(kind, tag)[:12]}",
                "state": "JOB_STATE_SUCCEEDED",
            }
            self._made[made["name"]] = made
            return ok(made)
        if request.method == "DELETE":
            self._made.pop(name, None)
            return ok({})
        if name in self._made:
            return ok(self._made[name])
        if name.startswith("models/") or kind == "models":
            listed = [
                {"name": f"models/{one}", "displayName": one, "supportedGenerationMethods": ["generateContent"]}
                for one in self._models
            ]
            return ok(listed[0] | {"name": name} if name.startswith("models/") else {"models": listed})
        if _TOPIC.search(path) is None or request.method == "GET":
            return ok({kind: [made for key, made in self._made.items() if key.startswith(f"{kind}/")]})
        return ok({"name": name})

    def _reply(self, request: SeenRequest) -> Reply:
        return self._next_reply(request, lambda seen: wire.echo(seen.json))


def _name(path: str) -> str:
    found = _TOPIC.search(path)
    return f"{found[1]}/{found[2]}" if found else ""


def _early(reply: Reply, kind: str) -> Answer | None:
    """Return what a reply says instead of an assistant's answer."""
    if reply.raw_body is not None:
        return _sent(reply, kind, reply.raw_body)
    if reply.status >= _ERRORS_FROM:
        return _sent(
            reply, "application/json", error(reply.status, reply.text or "The loopback provider was told to fail.").body
        )
    return None


def _sent(reply: Reply, kind: str, body: Any) -> Answer:
    headers = {"content-type": kind} | {name.lower(): value for name, value in reply.headers.items()}
    return Answer(status=reply.status, headers=tuple(headers.items()), body=body)


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
