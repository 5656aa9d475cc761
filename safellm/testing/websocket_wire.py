"""How providers speak over websockets, for the loopback provider: the events that answer an event."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

Event = dict[str, Any]
Next = Callable[[Event, str], "str | list[Event]"]
Cut = Callable[[str], Iterable[str]]


class Speaker(Protocol):
    """The provider's side of one connection."""

    def hello(self) -> Iterator[Event]:
        """Yield what is said before the program says anything."""
        ...

    def answer(self, event: Event, then: Next, cut: Cut) -> Iterator[Event]:
        """Yield what is said to an event."""
        ...


class _Responses:
    """OpenAI's Responses."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def hello(self) -> Iterator[Event]:
        yield from ()

    def answer(self, event: Event, then: Next, cut: Cut) -> Iterator[Event]:
        lane = {"stream_id": event["stream_id"]} if "stream_id" in event else {}
        if event.get("type") == "response.inject":
            return  # more of an answer that a test tells by itself
        if event.get("type") != "response.create":
            yield {"type": "error", "status": 400, "error": {"type": "invalid_request_error", "message": "?"}, **lane}
            return
        found = then(event, _said(event.get("input")))
        if isinstance(found, list):
            yield from ({**one, **lane} for one in found)
            return
        number = next(self._numbers)
        response: Event = {
            "id": f"resp_{number}",
            "object": "response",
            "model": event.get("model"),
            "created_at": 1,
            "output": [],
        }
        counter = itertools.count()
        item = {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": found, "annotations": []}
        done = {**item, "status": "completed", "content": [part]}
        usage = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
        said: list[Event] = [
            {"type": "response.created", "response": {**response, "status": "in_progress"}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
            *({"type": "response.output_text.delta", **place, "delta": piece} for piece in cut(found)),
            {"type": "response.output_text.done", **place, "text": found},
            {"type": "response.content_part.done", **place, "part": part},
            {"type": "response.output_item.done", "output_index": 0, "item": done},
            {
                "type": "response.completed",
                "response": {**response, "status": "completed", "output": [done], "usage": usage},
            },
        ]
        yield from ({**one, "sequence_number": next(counter), **lane} for one in said)


class _Session:
    """What OpenAI's sessions have in common."""

    def __init__(self, **session: Any) -> None:
        self._numbers = itertools.count(1)
        self._session: Event = session

    def hello(self) -> Iterator[Event]:
        yield self._event("session.created", session=self._session)

    def _event(self, kind: str, **parts: Any) -> Event:
        return {"type": kind, "event_id": f"event_{next(self._numbers)}", **parts}


class _Realtime(_Session):
    """OpenAI's Realtime."""

    def __init__(self) -> None:
        super().__init__(type="realtime", model="gpt-realtime", output_modalities=["audio"])
        self._last = ""

    def answer(self, event: Event, then: Next, cut: Cut) -> Iterator[Event]:
        kind = event.get("type")
        if kind == "session.update":
            self._session |= event["session"]
            yield self._event("session.updated", session=self._session)
        elif kind == "conversation.item.create":
            item = {"id": f"item_{next(self._numbers)}", "object": "realtime.item", **event["item"]}
            self._last = _said([item]) or self._last
            yield self._event("conversation.item.added", item=item)
        elif kind == "input_audio_buffer.commit":
            if self._hears_turns():
                yield from self._transcript(then(event, "speech"), cut)
            else:
                self._last = "speech"
                yield self._event("input_audio_buffer.committed", item_id=f"item_{next(self._numbers)}")
        elif kind == "response.create":
            given = (event.get("response") or {}).get("input")
            yield from self._response(then(event, _said(given) if given else self._last), cut)

    def _hears_turns(self) -> bool:
        """Return whether it answers by itself: unless the program switched that off."""
        given = (self._session.get("audio") or {}).get("input") or {}
        turns = given.get("turn_detection", {})
        return turns is not None and turns.get("create_response") is not False

    def _transcript(self, found: str | list[Event], cut: Cut) -> Iterator[Event]:
        if isinstance(found, list):
            yield from found
            return
        name = "conversation.item.input_audio_transcription"
        place = {"item_id": f"item_{next(self._numbers)}", "content_index": 0}
        for piece in cut(found):
            yield self._event(f"{name}.delta", **place, delta=piece)
        yield self._event(f"{name}.completed", **place, transcript=found, usage={"type": "duration", "seconds": 1.0})
        yield from self._response(found, cut)  # the provider hears the end of a turn by itself

    def _response(self, found: str | list[Event], cut: Cut) -> Iterator[Event]:
        if isinstance(found, list):
            yield from found
            return
        name = f"resp_{next(self._numbers)}"
        response = {"id": name, "object": "realtime.response", "status": "in_progress", "output": []}
        item = {"id": f"item_{next(self._numbers)}", "type": "message", "role": "assistant", "content": []}
        where = {"response_id": name, "output_index": 0}
        place = {**where, "item_id": item["id"], "content_index": 0}
        yield self._event("response.created", response=response)
        yield self._event("response.output_item.added", **where, item=item)
        for piece in cut(found):
            yield self._event("response.output_text.delta", **place, delta=piece)
        yield self._event("response.output_text.done", **place, text=found)
        done = {**item, "status": "completed", "content": [{"type": "output_text", "text": found}]}
        yield self._event("response.output_item.done", **where, item=done)
        yield self._event("conversation.item.done", item=done)
        usage = {
            "input_tokens": 20, "output_tokens": 9, "total_tokens": 29, "input_token_details": {"cached_tokens": 4},
        }  # fmt: skip
        yield self._event(
            "response.done", response={**response, "status": "completed", "output": [done], "usage": usage}
        )


class _Translation(_Session):
    """OpenAI's translations: what is heard is told at once, without being asked."""

    def __init__(self) -> None:
        super().__init__(type="translation", model="gpt-realtime-translate")

    def answer(self, event: Event, then: Next, cut: Cut) -> Iterator[Event]:
        kind = event.get("type")
        if kind == "session.update":
            self._session |= event["session"]
            yield self._event("session.updated", session=self._session)
        elif kind == "session.input_audio_buffer.append":
            found = then(event, "speech")
            said = [{"delta": piece, "elapsed_ms": 200} for piece in cut(found)] if isinstance(found, str) else []
            yield from (self._event("session.output_transcript.delta", **one) for one in said)
            yield from found if isinstance(found, list) else ()
        elif kind == "session.close":
            yield self._event("session.closed")


class _Voice(_Session):
    """OpenAI's live sessions: what is heard is answered in transcripts, and handed on to Responses where it is asked for."""

    def __init__(self) -> None:
        super().__init__(id="live_1", status="active", expires_at=1)
        self._last = ""

    def hello(self) -> Iterator[Event]:
        yield from ()

    def answer(self, event: Event, then: Next, cut: Cut) -> Iterator[Event]:
        kind = event.get("type")
        if kind in ("session.start", "session.update"):
            self._session |= event["session"]
            yield self._event(
                "session.started" if kind == "session.start" else "session.updated", session=self._session
            )
        elif kind == "session.input_audio.append":
            found = then(event, "speech")
            if isinstance(found, str):
                yield from self._said("session.output_transcript.delta", found, cut)
            else:
                yield from found
        elif kind == "response.item.create":
            self._last = _said([event["item"]]) or self._last
        elif kind == "response.create":
            yield from self._handed_on(then(event, self._last), cut)
        elif kind == "session.close":
            yield self._event("session.closed", session=self._session, reason="close_requested", usage={"seconds": 1.5})

    def _said(self, kind: str, text: str, cut: Cut) -> Iterator[Event]:
        for piece in cut(text):
            yield self._event(kind, delta=piece, start_ms=0, end_ms=200)

    def _handed_on(self, found: str | list[Event], cut: Cut) -> Iterator[Event]:
        if isinstance(found, list):
            yield from found
            return
        asked = {"type": "response.create", "model": "gpt-5", "input": ""}
        for one in _Responses().answer(asked, lambda *_: found, cut):
            yield self._event("response.event", delegation_id=None, event=one)


class _Live:
    """Gemini's live sessions."""

    def hello(self) -> Iterator[Event]:
        yield from ()

    def answer(self, event: Event, then: Next, cut: Cut) -> Iterator[Event]:
        content = event.get("client_content", event.get("clientContent"))
        tools = event.get("tool_response", event.get("toolResponse"))
        given = event.get("realtime_input", event.get("realtimeInput"))
        if "setup" in event:
            yield {"setupComplete": {"sessionId": "session-1"}}
        elif isinstance(content, dict) and content.get("turnComplete", content.get("turn_complete")):
            yield from self._turn(then(event, _said(content.get("turns"))), cut)
        elif tools is not None:
            yield from self._turn(then(event, "tool"), cut)
        elif isinstance(given, dict) and ("text" in given or "activityEnd" in given or "activity_end" in given):
            yield from self._turn(then(event, given.get("text", "speech")), cut)

    def _turn(self, found: str | list[Event], cut: Cut) -> Iterator[Event]:
        if isinstance(found, list):
            yield from found
            return
        for piece in cut(found):
            yield {"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": piece}]}}}
        yield {"serverContent": {"generationComplete": True}}
        usage = {"promptTokenCount": 13, "responseTokenCount": 8, "totalTokenCount": 21}
        yield {"serverContent": {"turnComplete": True}, "usageMetadata": usage}


def responses_speaker() -> Speaker:
    """Return the provider's side of a Responses connection."""
    return _Responses()


def realtime_speaker() -> Speaker:
    """Return the provider's side of a Realtime connection."""
    return _Realtime()


def translation_speaker() -> Speaker:
    """Return the provider's side of a translation."""
    return _Translation()


def voice_speaker() -> Speaker:
    """Return the provider's side of one of OpenAI's live sessions."""
    return _Voice()


def live_speaker() -> Speaker:
    """Return the provider's side of a live session."""
    return _Live()


def _said(given: Any) -> str:
    """Return the last text of a user."""
    if isinstance(given, str):
        return given
    texts = [
        part["text"]
        for one in (given if isinstance(given, list) else [])
        if isinstance(one, dict)
        for part in (one.get("content") or one.get("parts") or [])
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    plain = [
        one["content"] for one in (given if isinstance(given, list) else [])
        if isinstance(one, dict) and isinstance(one.get("content"), str)
    ]  # fmt: skip
    return next(iter([*plain, *texts][-1:]), "")
