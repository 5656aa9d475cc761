"""A provider on 127.0.0.1 that speaks websockets: OpenAI's Responses, Realtime and Live, Gemini's live sessions.

* The path says which; without a script the assistant quotes what the user said last.
* It records what arrived, so that a test can assert what left the program.

    with LoopbackSockets() as provider:
        client = safellm.OpenAI(base_url=provider.base_url, api_key="anything")
        with client.responses.connect() as connection: ...

Needs the library `websockets` (in `openai[realtime]` and in `google-genai`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeAlias

from safellm.testing.websocket_wire import (
    Speaker,
    live_speaker,
    realtime_speaker,
    responses_speaker,
    translation_speaker,
    voice_speaker,
)

Event: TypeAlias = dict[str, Any]
Cut: TypeAlias = Callable[[str], Iterable[str]]
# What is answered to the user's words: a text, or whole messages of the provider.
Rule: TypeAlias = "str | list[Event] | Callable[[Event, str], str | list[Event]]"
_HOST = "127.0.0.1"
_JOIN_SECONDS = 10.0
_SETTLE_SECONDS = 30.0  # a loaded machine takes its time


@dataclass(slots=True)
class SeenSocket:
    """One connection.

    Attributes:
        path: With its query.
        headers: Names in lower case.
        messages: What the program sent, as it came.
        close_code: How it ended; None while it is open.
        close_reason: What the program said then.
    """

    path: str
    headers: Mapping[str, str]
    messages: list[str] = field(default_factory=list)
    close_code: int | None = None
    close_reason: str = ""

    @property
    def events(self) -> list[Event]:
        """The messages, parsed."""
        return [json.loads(one) for one in self.messages]


class LoopbackSockets:
    """A provider of websockets on a free port of 127.0.0.1.

    Args:
        cut: Cuts each text into the pieces that are sent.
        binary: Messages are sent as binary frames, as Gemini does.
        refuse: HTTP status and headers that every opening request is answered with; None to accept it.
        tls: Speak TLS.
    """

    def __init__(
        self,
        *,
        cut: Cut | None = None,
        binary: bool = False,
        refuse: tuple[int, Mapping[str, str]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.cut: Cut = cut or (lambda text: [text[at : at + 5] for at in range(0, len(text), 5)])
        self.connections: list[SeenSocket] = []
        self._script: list[Rule] = []
        self._binary, self._refuse, self._tls = binary, refuse, tls
        self._server: Any = None
        self._open: list[tuple[Any, SeenSocket]] = []
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.socket.getsockname()[1])

    @property
    def origin(self) -> str:
        """Scheme, host and port as an HTTP client would write them."""
        return f"{'http' if self._tls is None else 'https'}://{_HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What to give to OpenAI's SDK as `base_url`."""
        return f"{self.origin}/v1"

    @property
    def last(self) -> SeenSocket:
        """The newest connection; waits for the first."""
        self.wait(0)
        return self.connections[-1]

    def reply_with(self, *rules: Rule) -> None:
        """Script the next answers; the last one stays. Without arguments the assistant quotes again.

        Args:
            rules: A text; whole messages; or a function of (what the program sent, what the user said) to one of them.
        """
        self._script = list(rules)

    def settled(self) -> None:
        """Wait until every connection has ended.

        Raises:
            TimeoutError: one hasn't.
        """
        self._wait(lambda: all(one.close_code is not None for one in self.connections), "a connection didn't end")

    def wait(self, messages: int) -> None:
        """Wait until the newest connection has brought so many messages.

        Raises:
            TimeoutError: it hasn't.
        """
        self._wait(
            lambda: bool(self.connections) and len(self.connections[-1].messages) >= messages,
            f"there is no connection with {messages} messages",
        )

    def wait_for_connections(self, count: int) -> None:
        """Wait until so many connections have been opened.

        Raises:
            TimeoutError: there are fewer.
        """
        self._wait(lambda: len(self.connections) >= count, f"there are no {count} connections")

    def _wait(self, there: Callable[[], bool], missing: str) -> None:
        with self._news:
            if not self._news.wait_for(there, _SETTLE_SECONDS):
                raise TimeoutError(f"After {_SETTLE_SECONDS:g} seconds {missing}")

    def push(self, messages: Iterable[Event | str]) -> None:
        """Say something unasked on the newest connection; a text goes as it is."""
        self.wait(0)
        for one in messages:
            self._open[-1][0].send(one if isinstance(one, str) else json.dumps(one))

    def close_all(self, code: int, reason: str = "") -> None:
        """Close every connection."""
        for one, _ in list(self._open):
            one.close(code, reason)

    def stop(self) -> None:
        """Close every connection and accept no more."""
        self._server.shutdown()
        self.close_all(1001)

    def __enter__(self) -> Self:
        from websockets.sync.server import serve  # noqa: PLC0415 - an extra of the SDKs

        self._server = serve(
            self._serve, _HOST, 0, process_request=self._decide, ssl=self._tls, max_size=None, compression=None
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="loopback-sockets", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
        self.settled()

    def _decide(self, connection: Any, request: Any) -> Any:
        # Before the answer is sent: who sees the connection open, finds it here.
        seen = SeenSocket(request.path, _lower(request.headers), close_code=None if self._refuse is None else 0)
        with self._news:
            self.connections.append(seen)
            if self._refuse is None:
                self._open.append((connection, seen))
            self._news.notify_all()
        if self._refuse is None:
            return None
        status, headers = self._refuse
        answer = connection.respond(HTTPStatus(status), "no\n")
        for name, value in headers.items():
            answer.headers[name] = value
        return answer

    def _serve(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        seen = next(seen for one, seen in self._open if one is connection)
        speaker = _speaker_at(seen.path)
        try:
            self._say(connection, speaker.hello())
            for message in connection:
                text = message if isinstance(message, str) else message.decode()
                with self._news:
                    seen.messages.append(text)
                    self._news.notify_all()
                self._say(connection, speaker.answer(json.loads(text), self._next, self.cut))
        except ConnectionClosed:
            pass
        finally:
            connection.close()
            with self._news:
                ended = connection.protocol  # before websockets 14 it alone knows
                seen.close_reason = ended.close_reason or ""
                seen.close_code = ended.close_code or 0
                self._news.notify_all()

    def _say(self, connection: Any, events: Iterator[Event]) -> None:
        for event in events:
            text = json.dumps(event)
            connection.send(text.encode() if self._binary else text)

    def _next(self, event: Event, said: str) -> str | list[Event]:
        if not self._script:
            return f"You said: {said}"
        rule = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return rule(event, said) if callable(rule) else rule


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.raw_items()}


def _speaker_at(path: str) -> Speaker:
    place = path.partition("?")[0]
    if place.endswith("/responses"):
        return responses_speaker()
    if place.endswith("/translations"):
        return translation_speaker()
    if "/live/sessions" in place:
        return voice_speaker()
    return realtime_speaker() if place.endswith("/realtime") else live_speaker()
