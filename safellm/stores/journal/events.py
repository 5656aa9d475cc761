"""The event pipeline: the same events that the trail keeps, for people and for other systems.

* structlog does the work, with its own loggers and processors each time: neither its global configuration nor that of
  `logging` is read or changed. It is imported when the first sink is made.
* A sink gets the event after the durable record is written. A sink that fails is reported once and never fails a call:
  the record is what counts, and it is safe already.
* Values can hold any character (a model's name comes from the request): control and hidden characters are escaped here,
  so that an event is one line and drives no terminal (THREATS L.6, O.3).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final, Protocol, TextIO

from safellm._core.effects import JSON
from safellm._core.record import GENESIS, rfc3339
from safellm.errors import GuardFailure
from safellm.stores.journal.interface import Journal, Receipt

LOGGER_NAME: Final = "safellm.audit"
_WARNS: Final = frozenset({"error.type", "safellm.alert.name"})
UNRECORDED: Final = Receipt(seq=0, hash=GENESIS)  # no place in any chain


class EventSink(Protocol):
    """Where events go besides the trail.

    A sink may have a method `listens(fields) -> bool`; while it says False, events are not even made for it.
    """

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Pass one event on; may raise anything, which costs the event but not the call."""
        ...


class ConsoleSink:
    """Events for a person, one readable line each."""

    def __init__(self, stream: TextIO | None = None, *, colour: bool | None = None) -> None:
        """Write to `stream`, by default standard error as it is at each event.

        Args:
            stream: Where lines go.
            colour: None: only on a terminal, and not if `NO_COLOR` is set (no-color.org).
        """
        self._stream = stream
        self._colour = colour

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Write one line."""
        import structlog  # noqa: PLC0415 - late: `import safellm` must not load it

        stream = sys.stderr if self._stream is None else self._stream
        if stream is None:  # a program without a console (pythonw)
            return
        renderer = structlog.dev.ConsoleRenderer(colors=self._coloured(stream), sort_keys=False)
        logger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[_flat, _printable, renderer],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=False,
        )
        _send(logger, event, fields, time_ns)

    def _coloured(self, stream: TextIO) -> bool:
        if self._colour is not None:
            return self._colour
        if sys.platform == "win32" and importlib.util.find_spec("colorama") is None:
            return False  # structlog refuses colours there
        return not os.environ.get("NO_COLOR") and stream.isatty()


class JsonSink:
    """Events as one JSON object a line, in ASCII, on standard error or another stream: what log collectors read."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Write one line, in one write."""
        stream = sys.stderr if self._stream is None else self._stream
        if stream is not None:
            line = json.dumps({"time": rfc3339(time_ns), "event.name": event, **fields}, separators=(",", ":"))
            stream.write(line.replace("\x7f", "\\u007f") + "\n")


class LoggingSink:
    """Events as records of the standard `logging`, to the logger `safellm.audit`.

    The message is one line of JSON in ASCII; `record.safellm` holds the event as a dict. Refusals are warnings.
    """

    def __init__(self, name: str = LOGGER_NAME) -> None:
        self._logger = logging.getLogger(name)
        # As the logging documentation asks of libraries: without a handler, `logging` would print on standard error.
        if not any(isinstance(handler, logging.NullHandler) for handler in self._logger.handlers):
            self._logger.addHandler(logging.NullHandler())

    def listens(self, fields: Mapping[str, JSON]) -> bool:
        """Return whether the event would reach a handler that does something."""
        logger: logging.Logger | None = self._logger
        while logger is not None:
            for handler in logger.handlers:
                if not isinstance(handler, logging.NullHandler):
                    return self._logger.isEnabledFor(_level(fields))
            logger = logger.parent if logger.propagate else None
        return False

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Pass one record to the logger."""
        if not self.listens(fields):
            return
        import structlog  # noqa: PLC0415 - late: nobody may be listening at all

        logger = structlog.wrap_logger(
            self._logger,
            processors=[_flat, _as_log_record],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=False,
        )
        _send(logger, event, fields, time_ns)


class NullJournal:
    """No trail: the policy's audit is off."""

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:  # noqa: ARG002 - protocol
        """Keep nothing."""
        return UNRECORDED

    def close(self) -> None:
        """Nothing to do."""


class BestEffortJournal:
    """A trail whose failure is reported once on standard error and stops nothing: for `audit.mode = "best_effort"`."""

    def __init__(self, journal: Journal, *, stream: TextIO | None = None) -> None:
        self._journal = journal
        self._stream = stream
        self._reported = False

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
        """Write the record if that is possible."""
        try:
            return self._journal.append(event, fields, time_ns=time_ns, wait=wait)
        except GuardFailure as failure:
            if not self._reported:
                self._reported = True
                tell(f"{failure} Calls go on unrecorded (audit.mode is best_effort).", self._stream)
            return UNRECORDED

    def close(self) -> None:
        """Let go of the trail's files."""
        try:
            self._journal.close()
        except GuardFailure as failure:
            tell(str(failure), self._stream)


class FanOutJournal:
    """A journal, then sinks: an event is sent on once its record is written, with the record's number and hash."""

    def __init__(self, primary: Journal, sinks: Iterable[EventSink], *, stream: TextIO | None = None) -> None:
        self._primary = primary
        self._sinks = tuple((sink, getattr(sink, "listens", None)) for sink in sinks)
        self._stream = stream
        self._broken: set[int] = set()

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
        """Write the record, then tell the sinks.

        Raises:
            GuardFailure: the primary journal's; no sink hears of the event then.
            Busy: the same.
        """
        receipt = self._primary.append(event, fields, time_ns=time_ns, wait=wait)
        sent: Mapping[str, JSON] | None = None
        for number, (sink, listens) in enumerate(self._sinks):
            try:
                if listens is not None and not listens(fields):
                    continue
                if sent is None:
                    sent = fields if receipt is UNRECORDED else {**fields, "seq": receipt.seq, "hash": receipt.hash}
                sink.emit(event, sent, time_ns=time_ns)
            except Exception as error:  # noqa: BLE001 - the record is written; a sink is foreign code
                if number not in self._broken:
                    self._broken.add(number)
                    name, kind = type(sink).__name__, type(error).__name__
                    tell(f"Events don't reach {name} ({kind}); the audit trail itself is written.", self._stream)
        return receipt

    def note(self, event: str, fields: Mapping[str, JSON], time_ns: int) -> None:
        """Write a record that belongs to no call, and tell the sinks."""
        self.append(event, fields, time_ns=time_ns)

    def close(self) -> None:
        """Let go of the primary journal's files."""
        self._primary.close()


def tell(text: str, stream: TextIO | None = None) -> None:
    """Say something to a person on standard error, if there is one."""
    target = sys.stderr if stream is None else stream
    if target is not None:
        with contextlib.suppress(OSError, ValueError):  # a closed or broken standard error
            target.write(f"safellm: {escaped(text)}\n")
            target.flush()


def escaped(text: str) -> str:
    """Return the text with every character that isn't printable, and the backslash, written as Python writes them."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        character
        if character.isprintable() and character != "\\"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _send(logger: Any, event: str, fields: Mapping[str, JSON], time_ns: int) -> None:
    # One argument instead of many keywords: a field may be called like a parameter.
    getattr(logger, "warning" if _level(fields) == logging.WARNING else "info")(event, safellm=(fields, time_ns))


def is_warning(fields: Mapping[str, JSON]) -> bool:
    """Return whether an event is more than information: a refusal, a failure, an alert."""
    return not _WARNS.isdisjoint(fields) or fields.get("decision") == "deny"


def _level(fields: Mapping[str, JSON]) -> int:
    return logging.WARNING if is_warning(fields) else logging.INFO


def _flat(_: object, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    fields, time_ns = event_dict["safellm"]
    return {**fields, "timestamp": rfc3339(time_ns), "level": method, "event": event_dict["event"]}


def _printable(_: object, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {escaped(str(name)): _clean(value) for name, value in event_dict.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {escaped(str(name)): _clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _as_log_record(
    _: object, __: str, event_dict: MutableMapping[str, Any]
) -> tuple[tuple[object, ...], dict[str, object]]:
    event = {name: value for name, value in event_dict.items() if name not in {"event", "level", "timestamp"}}
    event = {"time": event_dict["timestamp"], "event.name": event_dict["event"], **event}
    # ASCII escapes everything that a terminal acts on, but for DEL.
    message = json.dumps(event, separators=(",", ":")).replace("\x7f", "\\u007f")
    # As an argument, not as the format: a value may hold a percent sign.
    return ("%s", message), {"extra": {"safellm": event}}
