"""What a cell shows is searched before it leaves the kernel: the front end shows and saves what it gets (THREATS T6, K.4).

One seam: the messages of the kernel's session, whichever way they were made. Secrets are always hidden; personal data is hidden as
the policy hides it from providers, until a person says `%safellm show`. Pictures aren't searched.

A stream comes in pieces: what may be the beginning of a secret is kept until the next piece or the end of the cell.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = frozenset({"stream", "display_data", "update_display_data", "execute_result", "error"})
_TEXTS: Final = ("text/", "application/json", "application/javascript", "image/svg+xml")
# The beginning of a secret or an address, perhaps: it goes on in the next piece. Progress bars end otherwise.
_TAIL: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9][A-Za-z0-9_./+=:@-]{2,600}\Z")
_DEEP: Final = 64
_LONG: Final = 4_000_000  # characters that are searched at once


@dataclass(slots=True)
class State:
    """What this session shows."""

    show_personal: bool = False


@dataclass(frozen=True, slots=True)
class _Message:
    """A message on its way to the front end, however `send` was called."""

    stream: Any
    message: Any  # a whole message, or its type
    content: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.message if isinstance(self.message, str) else str(self.message.get("msg_type", ""))

    @property
    def body(self) -> Any:
        return self.content if isinstance(self.message, str) else self.message.get("content")

    def send(self, original: Any, body: Any) -> Any:
        """Send it with another body."""
        if isinstance(self.message, str):
            return original(self.stream, self.message, body, *self.arguments, **self.options)
        whole = {**self.message, "content": body}
        return original(self.stream, whole, self.content, *self.arguments, **self.options)


class _Gate:
    """Stands where the kernel's session sends."""

    def __init__(self, original: Any) -> None:
        self.original = original
        self._lock = threading.RLock()
        self._waiting: dict[str, tuple[_Message, str]] = {}  # by stream: the message of the rest, and the rest

    def __call__(self, stream: Any, msg_or_type: Any, content: Any = None, *arguments: Any, **options: Any) -> Any:
        one = _Message(stream, msg_or_type, content, arguments, options)
        body = one.body
        with self._lock:
            if one.kind == "status" and isinstance(body, dict) and body.get("execution_state") == "idle":
                self.flush()
            if one.kind not in _SHOWN or not isinstance(body, dict):
                return one.send(self.original, body)
            if one.kind == "stream":
                return self._stream(one, body)
            self.flush()
            return one.send(self.original, cleaned(body))

    def _stream(self, one: _Message, body: dict[str, Any]) -> Any:
        name = str(body.get("name", ""))
        _, rest = self._waiting.pop(name, (one, ""))
        text = rest + str(body.get("text", ""))
        tail = _TAIL.search(text)
        if tail is not None:
            self._waiting[name] = (one, text[tail.start() :])
            text = text[: tail.start()]
        return one.send(self.original, {**body, "text": clean_text(text)}) if text else None

    def flush(self) -> None:
        """Send what waited: its cell is at its end, or something else is shown."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            for one, rest in waiting.values():
                one.send(self.original, {**one.body, "text": clean_text(rest)})


state = State()


def start(shell: Any) -> None:
    """Search what the kernel shows; a shell without a kernel saves nothing and is left alone."""
    session = _session(shell)
    if session is not None and not isinstance(session.send, _Gate):
        session.send = _Gate(session.send)


def stop(shell: Any) -> None:
    """Search no more."""
    session = _session(shell)
    if session is not None and isinstance(session.send, _Gate):
        session.send.flush()
        session.send = session.send.original


def _session(shell: Any) -> Any:
    return getattr(getattr(shell, "kernel", None), "session", None)


def cleaned(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a message with secrets and personal data hidden in every text of it."""
    if "data" not in content:
        return {name: _clean(value, 0) for name, value in content.items()}
    data = {kind: _clean(value, 0) if _is_text(kind) else value for kind, value in (content.get("data") or {}).items()}
    return {**content, "data": data}


def _is_text(kind: str) -> bool:
    return kind.startswith(_TEXTS) or kind.endswith("+json")


def _clean(value: Any, depth: int) -> Any:
    if depth > _DEEP:
        return "[too deep to be searched]"
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {name: _clean(one, depth + 1) for name, one in value.items()}
    return value


def covers(text: str) -> int:
    """Return how many values of a text are not shown."""
    from safellm.redaction import detect  # noqa: PLC0415 - loads the engine

    return sum(_hides(one.type) for one in detect(text))


def _hides(kind: str) -> bool:
    from safellm.redaction import load_tools  # noqa: PLC0415

    redaction = load_tools().redaction
    action = redaction.types.get(kind, redaction.default)
    return kind == "SECRET" or not (state.show_personal or action.value == "allow")


def clean_text(text: str) -> str:
    """Return a text with what may not be saved replaced by its type: `[SECRET]`, `[EMAIL]`."""
    if not text:
        return text
    if len(text) > _LONG:
        cut = text.rfind("\n", 0, _LONG) + 1 or _LONG
        return clean_text(text[:cut]) + clean_text(text[cut:])
    from safellm.redaction import detect  # noqa: PLC0415 - loads the engine

    parts: list[str] = []
    done = 0
    for one in detect(text):
        if not _hides(one.type):
            continue
        parts += [text[done : one.start], f"[{one.type}]"]
        done = one.end
    return "".join(parts) + text[done:] if parts else text
