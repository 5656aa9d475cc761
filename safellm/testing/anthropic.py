"""The loopback provider's other dialect: it answers Anthropic's API to requests with the header `anthropic-version`.

Messages plain and streamed, batches, token counts, models and files. Give the SDK `provider.origin` as `base_url`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from safellm.testing import anthropic_wire as wire
from safellm.testing.endpoints import ok, read_multipart, tag_of
from safellm.testing.http_server import Answer, SeenRequest
from safellm.testing.replies import Reply, ToolCall, echo, example_of, last_user_text
from safellm.testing.wire import Call, JsonObject

HEADER = "anthropic-version"
MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1")
_ERRORS_FROM = 400
_CREATED = "2025-01-01T00:00:00Z"


def error(status: int, message: str) -> Answer:
    """Return an error answer in the provider's form."""
    headers = (("content-type", "application/json"),)
    return Answer(status=status, headers=headers, body=wire.error_body(status, message))


def assistant(request: SeenRequest) -> Reply:
    """Return the echo assistant's reply; a tool that the request forces is called with the user's text."""
    body = request.json
    said, choice = last_user_text(body), body.get("tool_choice") or {}
    tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    wanted = [tool for tool in tools if choice.get("type") == "any" or tool.get("name") == choice.get("name")]
    if wanted and choice.get("type") in ("any", "tool"):
        arguments = example_of(wanted[0]["input_schema"], said)
        return Reply(tool_calls=(ToolCall(name=wanted[0]["name"], arguments=arguments),))
    config = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    if config.get("type") == "json_schema":
        return Reply(text=json.dumps(example_of(config.get("schema"), said), ensure_ascii=False))
    return echo(request)


class AnthropicDialect:
    """What a provider keeps and answers under Anthropic's API.

    Args:
        next_reply: Gives the reply to a request; the second argument answers where nothing is scripted.
    """

    def __init__(self, next_reply: Callable[[SeenRequest, Callable[[SeenRequest], Reply]], Reply]) -> None:
        self._next_reply = next_reply
        self._files: dict[str, tuple[JsonObject, bytes]] = {}
        self._batches: dict[str, tuple[JsonObject, bytes]] = {}

    def answer(self, request: SeenRequest, tag: str) -> Answer:
        """Answer one request."""
        path = request.path.removeprefix("/v1").strip("/")
        name, _, rest = path.partition("/")
        if name == "messages" and rest.startswith("batches"):
            return self._batch(request, rest.removeprefix("batches").strip("/"), tag)
        if name in ("messages", "files") and request.method == "POST" and not rest:
            return self._message(request, tag) if name == "messages" else self._upload(request, tag)
        if path == "messages/count_tokens":
            return ok({"input_tokens": wire.count_input(request.json)})
        if name == "models":
            return _models(rest)
        if name == "files":
            return self._file(request, rest)
        return error(404, f"Not found: {request.method} {request.path}")

    def _message(self, request: SeenRequest, tag: str) -> Answer:
        body: Any = request.json  # Any: decoded JSON
        if not isinstance(body, dict):
            return error(400, "The request body is not valid JSON.")
        missing = next((name for name in ("model", "messages", "max_tokens") if body.get(name) is None), None)
        if missing is not None:
            return error(400, f"{missing}: Field required")
        reply = self._next_reply(request, assistant)
        streams = bool(body.get("stream"))
        kind = "text/event-stream; charset=utf-8" if streams else "application/json"
        if reply.raw_body is not None:
            return Answer(status=reply.status, headers=_headers(reply, kind), body=reply.raw_body)
        if reply.status >= _ERRORS_FROM:
            refused = wire.error_body(reply.status, reply.text or "The loopback provider was told to fail.")
            return Answer(status=reply.status, headers=_headers(reply, "application/json"), body=refused)
        call = Call(tag=tag, created=int(time.time()), body=body, reply=reply)
        if streams:
            return Answer(status=reply.status, headers=_headers(reply, kind), body=wire.message_stream(call))
        made = json.dumps(wire.message(call), ensure_ascii=False, separators=(",", ":")).encode()
        return Answer(status=reply.status, headers=_headers(reply, kind), body=made)

    # -- batches and files ----------------------------------------------------------------------------------------------

    def _batch(self, request: SeenRequest, rest: str, tag: str) -> Answer:
        name, _, part = rest.partition("/")
        if not name and request.method == "POST":
            return self._new_batch(request, tag)
        if not name:
            return _page([made for made, _ in self._batches.values()])
        if name not in self._batches:
            return error(404, "No such batch.")
        made, results = self._batches[name]
        if part == "results":
            return Answer(headers=(("content-type", "application/x-jsonl"),), body=results)
        if request.method == "DELETE":
            del self._batches[name]
            return ok({"id": name, "type": "message_batch_deleted"})
        return ok(made)

    def _new_batch(self, request: SeenRequest, tag: str) -> Answer:
        lines = []
        for number, one in enumerate(request.json["requests"]):
            text = f'You wrote: "{last_user_text(one["params"])}"'
            call = Call(tag=tag_of(tag, number), created=0, body=one["params"], reply=Reply(text=text))
            result = {"type": "succeeded", "message": wire.message(call)}
            lines.append(json.dumps({"custom_id": one["custom_id"], "result": result}, ensure_ascii=False))
        name = f"msgbatch_{tag[:24]}"
        counts = {"processing": 0, "succeeded": len(lines), "errored": 0, "canceled": 0, "expired": 0}
        made: JsonObject = {
            "id": name, "type": "message_batch", "processing_status": "ended", "request_counts": counts, "created_at": _CREATED,
            "ended_at": _CREATED, "expires_at": _CREATED, "archived_at": None, "cancel_initiated_at": None,
            "results_url": f"http://{request.headers.get('host')}/v1/messages/batches/{name}/results",
        }  # fmt: skip
        self._batches[name] = (made, "".join(f"{line}\n" for line in lines).encode())
        return ok(made)

    def _upload(self, request: SeenRequest, tag: str) -> Answer:
        part = next((one for one in read_multipart(request) if one.name == "file"), None)
        if part is None:
            return error(400, "file: Field required")
        made: JsonObject = {
            "id": f"file_{tag[:24]}", "type": "file", "filename": part.filename or "file", "mime_type": "text/plain",
            "size_bytes": len(part.content), "downloadable": True,
            "created_at": datetime.fromtimestamp(int(time.time()), tz=UTC).isoformat(),
        }  # fmt: skip
        self._files[str(made["id"])] = (made, part.content)
        return ok(made)

    def _file(self, request: SeenRequest, rest: str) -> Answer:
        name, _, part = rest.partition("/")
        if not name:
            return _page([made for made, _ in self._files.values()])
        if name not in self._files:
            return error(404, "No such file.")
        made, content = self._files[name]
        if request.method == "DELETE":
            del self._files[name]
            return ok({"id": name, "type": "file_deleted"})
        if part == "content":
            return Answer(headers=(("content-type", "application/octet-stream"),), body=content)
        return ok(made)


def _models(wanted: str) -> Answer:
    listed = [{"type": "model", "id": name, "display_name": name, "created_at": _CREATED} for name in MODELS]
    if not wanted:
        return _page(listed)
    found = next((model for model in listed if model["id"] == wanted), None)
    return ok(found) if found else error(404, f"model: {wanted}")


def _page(data: list[JsonObject] | list[dict[str, str]]) -> Answer:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return ok({"data": data, "has_more": False, **ends})


def _headers(reply: Reply, content_type: str) -> tuple[tuple[str, str], ...]:
    given: Mapping[str, str] = {name.lower(): value for name, value in reply.headers.items()}
    return tuple(({"content-type": content_type} | dict(given)).items())
