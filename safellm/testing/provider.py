"""A provider on 127.0.0.1 that speaks the OpenAI API, for tests of programs and of guards.

* It answers chat completions, responses, completions, embeddings, models, moderations and files, plain and streamed,
  also under Azure's paths.
* It records what arrived, so that a test can assert what left the program.
* Google's paths get the Gemini API (see `google.py`); their base URL is `origin`.
* Requests with the header `anthropic-version` get Anthropic's API (see `anthropic.py`); their base URL is `origin`.
* Without a script it quotes the last user message back (see `replies.echo`).
* It knows no model: any model name is accepted.

    with LoopbackProvider() as provider:
        client = openai.OpenAI(base_url=provider.base_url, api_key="anything")
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from safellm.testing import anthropic, endpoints, google, wire
from safellm.testing.endpoints import FileShelf, error, ok, tag_of
from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest, cut_body
from safellm.testing.replies import Reply, Rule, apply_rule, echo

MODELS = ("gpt-5", "gpt-5-mini", "gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "omni-moderation-latest")
_PREFIX = re.compile(r"^(?:/openai/deployments/(?P<deployment>[^/]+)|/openai/v1|/openai|/v1)(?=/)")
_ERRORS_FROM = 400

Handler = Callable[[SeenRequest, str], Answer]


class LoopbackProvider(LoopbackServer):
    """An OpenAI-compatible provider on a free port of 127.0.0.1.

    Args:
        api_key: The only accepted key, as `Authorization: Bearer` or `api-key`; None accepts any, and none at all.
        write_chunks: Cuts each whole body into the pieces that are sent; for tests that hold for every chunking.
        models: Names that `/v1/models` lists.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        write_chunks: Callable[[bytes], Iterable[bytes]] | None = None,
        models: tuple[str, ...] = MODELS,
    ) -> None:
        super().__init__()
        self.write_chunks = write_chunks
        self.models = models
        self._api_key = api_key
        self._script: list[Rule] = []
        self._answered = 0
        self._files = FileShelf()
        self._responses: dict[str, wire.JsonObject] = {}
        self._anthropic = anthropic.AnthropicDialect(self._next_reply)
        self._google = google.GeminiDialect(self._next_reply, models)

    @property
    def base_url(self) -> str:
        """What to give to the SDK as `base_url`; Azure's `azure_endpoint` is `origin`."""
        return f"{self.origin}/v1"

    def reply_with(self, *rules: Rule) -> None:
        """Script the next replies; the last one stays. Without arguments the echo assistant answers again.

        Args:
            rules: A text, a `Reply`, or a function from the request to one of them. An answer with an error status is
                `Reply(status=429, headers={"retry-after": "0"})`. They apply to requests that a model answers, not to
                models, moderations or files.
        """
        with self._lock:
            self._script = list(rules)

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        """Answer one request."""
        began_ns = time.monotonic_ns()
        with self._lock:
            self._answered += 1
            tag = tag_of(self.port, self._answered)
        answer = self._answer(request, tag)
        own = (
            ("x-request-id", f"req_{tag}"),
            ("openai-processing-ms", str((time.monotonic_ns() - began_ns) // 1_000_000 + 1)),
            ("openai-version", "2020-10-01"),
        )
        body = cut_body(answer.body, self.write_chunks)
        sent = Answer(status=answer.status, headers=(*answer.headers, *own), body=body)
        connection.send_answer(sent, head_only=request.method == "HEAD")
        return request.headers.get("connection", "").lower() != "close"

    def _answer(self, request: SeenRequest, tag: str) -> Answer:
        speaks_anthropic = anthropic.HEADER in request.headers
        if not self._is_key_right(request):
            deny = anthropic.error if speaks_anthropic else google.error if google.speaks(request) else error
            return deny(401, "Incorrect API key provided.")
        if speaks_anthropic:
            return self._anthropic.answer(request, tag)
        if google.speaks(request):
            return self._google.answer(request, tag)
        prefix = _PREFIX.match(request.path)
        path = request.path[prefix.end() + 1 :] if prefix else ""
        name, _, rest = (path, "", "") if path == "chat/completions" else path.partition("/")
        handler, methods = self._routes(tag).get(name, (None, ()))
        if handler is None:
            return error(404, f"Invalid URL ({request.method} {request.path})")
        if request.method not in methods:
            return error(405, f"Not allowed to {request.method} on {request.path}.")
        return handler(request, rest)

    def _routes(self, tag: str) -> Mapping[str, tuple[Handler, tuple[str, ...]]]:
        def model_answers(
            required: str, whole: Callable[[wire.Call], wire.JsonObject], stream: Callable[[wire.Call], Iterator[bytes]]
        ) -> Handler:
            return lambda request, _: self._model_answer(self._call(request, required, tag), whole, stream)

        return {
            "chat/completions": (model_answers("messages", wire.chat_completion, wire.chat_stream), ("POST",)),
            "completions": (model_answers("prompt", wire.text_completion, wire.text_stream), ("POST",)),
            "responses": (
                lambda request, rest: (
                    self._stored(request, rest)
                    if rest or request.method != "POST"
                    else self._model_answer(
                        self._call(request, "input", tag), wire.response_object, wire.response_stream
                    )
                ),
                ("POST", "GET", "DELETE"),
            ),
            "embeddings": (lambda request, _: self._embed(self._call(request, "input", tag)), ("POST",)),
            "moderations": (lambda request, _: endpoints.moderations(request), ("POST",)),
            "models": (lambda _, rest: endpoints.models(self.models, rest), ("GET", "HEAD")),
            "files": (self._files.answer, ("POST", "GET", "DELETE")),
        }

    def _is_key_right(self, request: SeenRequest) -> bool:
        if self._api_key is None:
            return True
        names = ("api-key", "x-api-key", google.HEADER)
        named = next((request.headers[name] for name in names if request.headers.get(name)), None)
        given = named or request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self._api_key.encode())

    def _call(self, request: SeenRequest, required: str, tag: str) -> wire.Call | Answer:
        """Return the call with its reply, or the answer that ends it before a model is asked."""
        given: Any = request.json  # Any: decoded JSON
        if not isinstance(given, dict):
            return error(400, "We could not parse the JSON body of your request.")
        prefix = _PREFIX.match(request.path)
        deployment = prefix["deployment"] if prefix else None
        body = {"model": deployment} | given if deployment else given
        missing = next((name for name in ("model", required) if body.get(name) is None), None)
        if missing is not None:
            return error(400, f"Missing required parameter: '{missing}'.", param=missing)
        reply = self._next_reply(request)
        if reply.raw_body is not None:
            kind = "text/event-stream; charset=utf-8" if body.get("stream") else "application/json"
            return Answer(status=reply.status, headers=_headers(reply, kind), body=reply.raw_body)
        if reply.status >= _ERRORS_FROM:
            refusal = error(reply.status, reply.text or "The loopback provider was told to fail.")
            return Answer(status=reply.status, headers=_headers(reply, "application/json"), body=refusal.body)
        return wire.Call(tag=tag, created=int(time.time()), body=body, reply=reply)

    def _next_reply(self, request: SeenRequest, unscripted: Callable[[SeenRequest], Reply] = echo) -> Reply:
        with self._lock:
            rule: Rule = self._script[0] if self._script else unscripted
            if len(self._script) > 1:
                del self._script[0]
        return apply_rule(rule, request)

    def _model_answer(
        self,
        call: wire.Call | Answer,
        whole: Callable[[wire.Call], wire.JsonObject],
        stream: Callable[[wire.Call], Iterator[bytes]],
    ) -> Answer:
        if isinstance(call, Answer):
            return call
        made = whole(call)
        if made["object"] == "response":
            self._responses[made["id"]] = made
        if call.body.get("stream"):
            headers = _headers(call.reply, "text/event-stream; charset=utf-8")
            return Answer(status=call.reply.status, headers=headers, body=stream(call))
        headers = _headers(call.reply, "application/json")
        body = json.dumps(made, ensure_ascii=False, indent=2) + "\n"  # written as OpenAI's servers write
        return Answer(status=call.reply.status, headers=headers, body=body.encode())

    def _embed(self, call: wire.Call | Answer) -> Answer:
        return call if isinstance(call, Answer) else endpoints.embeddings(call.body, call.model)

    def _stored(self, request: SeenRequest, response_id: str) -> Answer:
        found = self._responses.get(response_id)
        if found is None or request.method == "POST":
            return error(404, "Response not found.")
        if request.method == "GET":
            return ok(found)
        del self._responses[response_id]
        return ok({"id": response_id, "object": "response", "deleted": True})


def _headers(reply: Reply, content_type: str) -> tuple[tuple[str, str], ...]:
    given = {name.lower(): value for name, value in reply.headers.items()}
    return tuple(({"content-type": content_type} | given).items())
