"""The event pipeline: sinks for people and logging, and journals that stand before the trail."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from safellm._core.effects import JSON
from safellm.errors import GuardFailure, Reason
from safellm.stores.journal.events import (
    LOGGER_NAME,
    UNRECORDED,
    BestEffortJournal,
    ConsoleSink,
    FanOutJournal,
    LoggingSink,
    NullJournal,
)
from safellm.stores.journal.files import verify_directory
from safellm.stores.journal.interface import Receipt
from safellm.stores.journal.jsonl import JsonlJournal

TIME_NS = 1_795_398_290_687_019_103
HOSTILE = "a\x1b[2J\x9b\r\n\x7f\u2028\u202e\u200b%s{}"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


class Keeping:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, JSON], int]] = []

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Keep it."""
        self.events.append((event, dict(fields), time_ns))


class Broken:
    """A sink that fails."""

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Fail with the event in the message."""
        raise ValueError(event, fields, time_ns)


class BrokenJournal:
    """A trail on a full disk."""

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
        """Refuse."""
        raise GuardFailure("No room", guard="audit", reason=Reason.AUDIT_UNAVAILABLE, remedy="Make room.")

    def close(self) -> None:
        """Refuse as well."""
        raise GuardFailure("No room", guard="audit", reason=Reason.AUDIT_UNAVAILABLE, remedy="Make room.")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The audit logger, put back afterwards."""
    found = logging.getLogger(LOGGER_NAME)
    before = found.level, found.propagate, list(found.handlers)
    yield found
    found.level, found.propagate, found.handlers = before


def test_console_line_is_plain_readable_and_inert() -> None:
    """An event is one line without any character that a terminal acts on, whatever its fields are called or hold."""
    stream = io.StringIO()
    fields: dict[str, JSON] = {"gen_ai.request.model": HOSTILE, "a\nb": 1, "event": "x", "self": {"k\x1b": [HOSTILE]}}
    ConsoleSink(stream).emit("call.intent", fields, time_ns=TIME_NS)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert "call.intent" in text
    assert "2026-11-23T01:44:50.687019103Z" in text
    assert "gen_ai.request.model" in text


def test_console_colours_only_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour needs a terminal and no NO_COLOR; an empty NO_COLOR doesn't count."""

    def escapes(stream: io.StringIO) -> bool:
        ConsoleSink(stream).emit("call.intent", {"x": 1}, time_ns=TIME_NS)
        return "\x1b[" in stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not escapes(io.StringIO())
    assert escapes(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not escapes(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert escapes(Terminal())


def test_console_uses_standard_error_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream the line goes to what standard error is then; without standard error nothing happens."""
    sink = ConsoleSink()
    sink.emit("call.intent", {}, time_ns=TIME_NS)
    captured = capsys.readouterr()
    assert "call.intent" in captured.err
    assert captured.out == ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        sink.emit("call.intent", {}, time_ns=TIME_NS)


def test_logging_record_is_one_ascii_line_with_the_event(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """The message is JSON in ASCII, the event hangs on the record, and refusals are warnings."""
    logger.setLevel(logging.INFO)
    sink = LoggingSink()
    sink.emit("call.intent", {"x": HOSTILE, "args": 1, "name": "n"}, time_ns=TIME_NS)
    sink.emit("policy.deny", {"decision": "deny"}, time_ns=TIME_NS)
    first, second = caplog.records
    message = first.getMessage()
    assert message.isascii()
    assert message.isprintable()
    assert json.loads(message) == {
        "time": "2026-11-23T01:44:50.687019103Z",
        "event.name": "call.intent",
        "x": HOSTILE,
        "args": 1,
        "name": "n",
    }
    assert vars(first)["safellm"]["x"] == HOSTILE
    assert (first.name, first.levelno, second.levelno) == (LOGGER_NAME, logging.INFO, logging.WARNING)


def test_logging_without_handlers_stays_silent() -> None:
    """In a program that never configured logging, nothing is printed and the root logger stays untouched."""
    code = (
        "import logging, sys\n"
        "from safellm.stores.journal.events import LoggingSink\n"
        "assert 'structlog' not in sys.modules\n"
        "LoggingSink().emit('policy.deny', {'decision': 'deny'}, time_ns=1)\n"
        "assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_global_configuration_is_neither_read_nor_changed(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """A program's own structlog set-up stays as it is and doesn't see our events."""
    seen: list[object] = []

    def spy(_: object, __: str, event_dict: structlog.typing.EventDict) -> structlog.typing.EventDict:
        seen.append(event_dict)
        return event_dict

    logger.setLevel(logging.INFO)
    structlog.configure(processors=[spy, structlog.processors.JSONRenderer()])
    try:
        before = structlog.get_config()
        stream = io.StringIO()
        ConsoleSink(stream).emit("call.intent", {}, time_ns=TIME_NS)
        LoggingSink().emit("call.intent", {}, time_ns=TIME_NS)
        assert structlog.get_config() == before
    finally:
        structlog.reset_defaults()
    assert seen == []
    assert stream.getvalue()
    assert len(caplog.records) == 1


def test_fan_out_writes_the_record_first(tmp_path: Path) -> None:
    """Sinks get what is recorded already, with its number and hash; a record that failed reaches none."""
    sink = Keeping()
    journal = FanOutJournal(JsonlJournal(tmp_path), [sink])
    receipt = journal.append("call.intent", {"x": 1}, time_ns=TIME_NS)
    journal.close()
    assert sink.events == [("call.intent", {"x": 1, "seq": 1, "hash": receipt.hash}, TIME_NS)]
    assert verify_directory(tmp_path).head == receipt.hash
    with pytest.raises(GuardFailure):
        FanOutJournal(BrokenJournal(), [sink]).append("call.intent", {}, time_ns=TIME_NS)
    assert len(sink.events) == 1


def test_fan_out_survives_a_broken_sink(tmp_path: Path) -> None:
    """A sink that raises costs no call and no other sink; it is reported once, without what the event holds."""
    stream, sink = io.StringIO(), Keeping()
    journal = FanOutJournal(JsonlJournal(tmp_path), [Broken(), sink, Broken()], stream=stream)
    for _ in range(3):
        journal.append("call.intent", {"x": "canary"}, time_ns=TIME_NS)
    assert len(sink.events) == 3
    assert stream.getvalue().count("\n") == 2
    assert "Broken" in stream.getvalue()
    assert "canary" not in stream.getvalue()
    closed = io.StringIO()
    closed.close()
    FanOutJournal(NullJournal(), [Broken()], stream=closed).append("call.intent", {}, time_ns=TIME_NS)


def test_best_effort_goes_on_and_says_so_once(tmp_path: Path) -> None:
    """A trail that can't be written is reported once, with the remedy; one that can is written."""
    stream = io.StringIO()
    journal = BestEffortJournal(BrokenJournal(), stream=stream)
    assert [journal.append("call.intent", {}, time_ns=TIME_NS) for _ in range(3)] == [UNRECORDED] * 3
    assert stream.getvalue().count("\n") == 1
    assert "Make room." in stream.getvalue()
    assert "unrecorded" in stream.getvalue()
    journal.close()
    assert BestEffortJournal(JsonlJournal(tmp_path), stream=stream).append("call.intent", {}, time_ns=1).seq == 1


def test_best_effort_hides_no_other_error() -> None:
    """Only a trail that fails is passed over: a defect still raises."""

    class Defect(BrokenJournal):
        def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
            raise TypeError

    with pytest.raises(TypeError):
        BestEffortJournal(Defect()).append("call.intent", {}, time_ns=TIME_NS)


def test_audit_off_records_nothing_but_sinks_still_hear() -> None:
    """Without a trail events have no number; a console still shows them."""
    sink = Keeping()
    journal = FanOutJournal(NullJournal(), [sink])
    assert journal.append("call.intent", {"x": 1}, time_ns=TIME_NS) is UNRECORDED
    journal.close()
    assert sink.events == [("call.intent", {"x": 1}, TIME_NS)]
