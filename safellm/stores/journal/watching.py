"""Alerts from the trail: evaluated in a thread, a moment after a record was written, over the records of all programs.

* Programs that share a trail and its rules share one place in it: `alerts-<uid8>-<rules>.json`, under `alerts.lock`. Whoever wrote
  a record reads on from there, so that five refusals of five programs are five refusals, and each alert is raised once.
* What was there before the rules were is learnt from, not told.
* An alert is a record of the trail and goes to every sink. It is written before the place is: a crash in between may raise it
  again, never lose it.
* A failure is told once on standard error and costs no call.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from safellm._core import alerts
from safellm._core.effects import JSON
from safellm._core.record import MAX_LINE_BYTES
from safellm.errors import SafeLLMError
from safellm.stores import durable
from safellm.stores.behind import Behind
from safellm.stores.journal.events import tell
from safellm.stores.journal.files import TrailFile, find, open_trail

LOCK_NAME: Final = "alerts.lock"
DELAY_S: Final = 0.2
_LOCK_NS: Final = 5_000_000_000
_TRIES: Final = 12  # to get the lock: one that learns from a long trail keeps it for seconds
_LARGEST: Final = 64 * 1024 * 1024

Append = Callable[[str, Mapping[str, JSON], int], object]


class Watcher:
    """Raises the alerts of a trail.

    Args:
        directory: Folder of the trail.
        rules: What to tell of; at least one.
        extra: Fields of every alert.
        now_ns: The clock, Unix time.
    """

    def __init__(
        self,
        directory: Path,
        rules: tuple[alerts.Rule, ...],
        *,
        extra: Mapping[str, JSON],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._directory = directory
        self._rules = rules
        self._extra = dict(extra)
        self._now_ns = now_ns
        self._began_ns = now_ns()
        self._append: Callable[[], Append | None] = lambda: None
        self._tries = 0
        self._raising: int | None = None  # the thread that looks
        self._told: set[str] = set()
        self._behind = Behind(self.turn, name="alerts", delay_s=DELAY_S)

    def raise_with(self, append: Append) -> None:
        """Say how an alert is written: a bound method, which isn't kept alive."""
        self._append = weakref.WeakMethod(append)

    def recorded(self) -> None:
        """Ask for a look. Called by the journal, on the path of calls."""
        if threading.get_ident() != self._raising:  # an alert trips none; at exit the look would begin within itself
            self._behind.soon()

    def turn(self) -> None:
        """Read what is new, and raise what it trips. A failure is told, not raised."""
        try:
            self._look()
        except OSError as error:
            if error.errno == errno.ETIMEDOUT and self._tries < _TRIES:
                self._tries += 1
                self._behind.soon()
                return
            self._tell(error.strerror or type(error).__name__)
        except SafeLLMError as error:
            self._tell(str(error))
        except Exception as error:  # noqa: BLE001 - behind calls, whose own work is done
            self._tell(type(error).__name__)
        self._tries = 0

    def close(self) -> None:
        """End the thread."""
        self._behind.close()

    def __del__(self) -> None:
        if suppress is None:  # the interpreter takes modules apart
            return
        with suppress(Exception):
            self._behind.close(wait=False)

    def _look(self) -> None:
        append = self._append()
        if append is None or not self._directory.is_dir():
            return
        lock = durable.open_private(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT)
        try:
            with durable.locked(lock, timeout_ns=_LOCK_NS):
                self._raising = threading.get_ident()
                self._look_alone(append)
        finally:
            self._raising = None
            os.close(lock)

    def _look_alone(self, append: Append) -> None:
        files = find(self._directory)
        if not files:
            return
        path = state_file(self._directory, files[-1].uid8, self._rules)
        watch, index, offset = _read_state(path, self._rules)
        learns = watch is None
        watch = watch or alerts.Watch(self._rules)
        at = (index, offset)
        for record, at in records_from(files, index, offset):  # noqa: B007 - the last one is needed
            raised = watch.add(record)
            if learns and int(str(record.get("time_ns", "0"))) < self._began_ns:
                continue
            for fields in raised:
                append(alerts.EVENT, {**fields, **self._extra}, self._now_ns())
        if at != (index, offset) or learns:
            _write_state(path, watch, at)

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            tell(f"Alerts can't be raised: {what}. Calls go on and are recorded.")


def records_from(files: list[TrailFile], index: int, offset: int) -> Iterator[tuple[dict[str, Any], tuple[int, int]]]:
    """Yield the records after a place, each with the place behind it; lines that are no records are left out.

    Raises:
        OSError: a file can't be read.
    """
    for file in files:
        if file.index < index:
            continue
        at = offset if file.index == index else 0
        with open_trail(file) as stream:
            if not file.is_compressed and os.fstat(stream.fileno()).st_size < at:
                continue  # somebody cut it; `verify` tells
            stream.seek(at)
            while line := stream.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                    break  # being written, or left by a crash
                at += len(line)
                record = parsed(line)
                if record is not None:
                    yield record, (file.index, at)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line as a record, unchecked; None where it is none."""
    try:
        value = orjson.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event.name"), str) else None


def state_file(directory: Path, uid8: str, rules: tuple[alerts.Rule, ...]) -> Path:
    """Return the file that holds how far a trail was looked at with these rules."""
    return directory / f"alerts-{uid8}-{alerts.digest_of(rules)}.json"


def _read_state(path: Path, rules: tuple[alerts.Rule, ...]) -> tuple[alerts.Watch | None, int, int]:
    try:
        data = durable.read_private(path, _LARGEST)
    except FileNotFoundError:
        return None, 0, 0
    try:
        found = json.loads(data)
        return alerts.Watch(rules, found["watch"]), int(found["file"]), int(found["offset"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, 0, 0  # damaged: it is learnt anew


def _write_state(path: Path, watch: alerts.Watch, at: tuple[int, int]) -> None:
    state = {"file": at[0], "offset": at[1], "watch": watch.state()}
    durable.replace(path, json.dumps(state).encode() + b"\n", sync=False)  # what is lost is learnt anew
