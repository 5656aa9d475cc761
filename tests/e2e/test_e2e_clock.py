"""Budgets under clocks that a person sets: whole programs whose system time is moved by libfaketime (B.5).

What is computed from a clock is tested with an injected one elsewhere (`tests/core/test_budget.py`, the ledgers' contract); here
the real `time.time_ns` of a real program goes over midnight, through changes of summer time, and back.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = """
import datetime, json, sys
import safellm
limits = [{"requests": 1, "window": sys.argv[2]}]
client = safellm.OpenAI(base_url=sys.argv[1], api_key="x", max_retries=0, safellm={"budget.limits": limits})
for line in sys.stdin:
    try:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
        said = "ok"
    except safellm.Refused as error:
        said = error.remedy.partition(";")[0]
    print(json.dumps([said, datetime.datetime.now().strftime("%d %H:%M")]), flush=True)
"""


@pytest.fixture(scope="session")
def library() -> str:
    """The library that moves the clock of a program that loads it."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    done = subprocess.run(["faketime", "now", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Clock:
    """A running program, and the clock that it sees."""

    def __init__(self, library: str, file: Path, command: list[str], zone: str, at: str) -> None:
        self._file = file
        self.set(at)
        self._program = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
                "TZ": zone,
            },
        )

    def set(self, at: str) -> None:
        """Stop the clock at a moment of the program's own time zone."""
        aside = self._file.with_suffix(".new")
        aside.write_text(at)
        aside.replace(self._file)

    def call(self, at: str | None = None) -> str:
        """Set the clock, have the program call, and return "ok" or when the limit resets; checks what the program saw."""
        if at is not None:
            self.set(at)
            self._at = at
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write("\n")
        self._program.stdin.flush()
        said, saw = json.loads(self._program.stdout.readline())
        assert saw == self._at[8:16]
        return str(said)

    def end(self) -> None:
        """End the program."""
        self._program.communicate(timeout=30)
        assert self._program.returncode == 0


@pytest.fixture
def start(library, provider, tmp_path) -> Iterator[Callable[..., Clock]]:
    """Start a program with one request for each window, in a time zone."""
    started: list[Clock] = []

    def run(window: str, *, zone: str = "UTC", at: str = "2026-01-01 00:00:00") -> Clock:
        command = [sys.executable, "-W", "error", "-c", PROGRAM, provider.base_url, window]
        started.append(Clock(library, tmp_path / f"clock {len(started)}", command, zone, at))
        return started[-1]

    yield run
    for one in started:
        one.end()


def test_b_5_a_day_ends_at_midnight_and_no_clock_opens_it_again(start) -> None:
    """Over midnight once; back by a minute, by a year, and the day after: each day has one call, and only forwards."""
    clock = start("day")
    assert clock.call("2026-06-30 23:59:58") == "ok"
    assert clock.call("2026-06-30 23:59:59") == "It resets at 2026-07-01 00:00 UTC"
    assert clock.call("2026-07-01 00:00:00") == "ok"
    assert clock.call("2026-06-30 23:59:00") == "It resets at 2026-07-02 00:00 UTC"
    assert clock.call("2025-07-01 12:00:00") == "It resets at 2026-07-02 00:00 UTC"
    assert clock.call("2026-07-02 00:00:01") == "ok"


def test_b_5_another_program_with_its_clock_back_gets_nothing_more(start) -> None:
    """What one program has seen holds for those after it: the ledger keeps the window, not the process."""
    first = start("day")
    assert first.call("2026-06-30 12:00:00") == "ok"
    second = start("day", at="2026-06-29 12:00:00")
    assert second.call("2026-06-29 12:00:00") == "It resets at 2026-07-01 00:00 UTC"
    assert second.call("2026-07-01 00:00:01") == "ok"
    assert first.call("2026-06-30 23:00:00") == "It resets at 2026-07-02 00:00 UTC"


def test_b_5_summer_time_and_zones_open_no_window(start) -> None:
    """Hours are those of UTC: the hour that the clocks of Berlin show twice is two, and the one that they leave out none."""
    hours = start("hour", zone="Europe/Berlin")
    assert hours.call("2026-03-29 01:59:59") == "ok"  # 00:59:59 UTC; the next second is 03:00:00
    assert hours.call("2026-03-29 01:30:00") == "It resets at 2026-03-29 01:00 UTC"
    assert hours.call("2026-03-29 03:00:00") == "ok"  # 01:00 UTC
    assert hours.call("2026-03-29 03:59:59") == "It resets at 2026-03-29 02:00 UTC"
    assert hours.call("2026-10-25 01:59:59") == "ok"  # 23:59:59 UTC
    assert hours.call("2026-10-25 03:00:00") == "ok"  # 02:00 UTC: two hours later, not one
    east = start("hour", zone="Asia/Tokyo", at="2026-10-25 11:30:00")
    assert east.call("2026-10-25 11:30:00") == "It resets at 2026-10-25 03:00 UTC"  # 02:30 UTC
    assert east.call("2026-10-25 12:00:00") == "ok"


def test_b_5_months_end_when_they_do(start) -> None:
    """The last second of short, long and leap months, and of a year."""
    clock = start("month")
    for last, first, reset in (
        ("2026-01-31 23:59:59", "2026-02-01 00:00:00", "2026-02-01"),
        ("2027-02-28 23:59:59", "2027-03-01 00:00:00", "2027-03-01"),
        ("2028-02-29 23:59:59", "2028-03-01 00:00:00", "2028-03-01"),
        ("2028-12-31 23:59:59", "2029-01-01 00:00:00", "2029-01-01"),
    ):
        assert clock.call(last) == "ok"
        assert clock.call(last) == f"It resets at {reset} 00:00 UTC"
        assert clock.call(first) == "ok"
