"""Stores that clients of one process share."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from safellm._core.policy import Policy
from safellm.client import conversations_for
from safellm.stores.journal import jsonl
from safellm.stores.journal.open import audit_folder, open_journal
from safellm.stores.ledger.choose import file_ledger, live_ledger
from safellm.stores.live import Live


class Store:
    """Anything that can be opened."""


def test_one_store_is_opened_when_many_threads_ask_first() -> None:
    """All get the same one, also while it is being opened; the others don't wait for that of other settings."""
    live: Live[Store] = Live()
    opened: list[Store] = []
    begun, go = threading.Event(), threading.Event()

    def slowly() -> Store:
        begun.set()
        assert go.wait(30)
        opened.append(Store())
        return opened[-1]

    found: list[Store] = []
    threads = [threading.Thread(target=lambda: found.append(live.get("a", slowly))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    assert live.get("b", Store) is live.get("b", Store)
    go.set()
    for thread in threads:
        thread.join()
    assert found == [opened[0]] * 8


def test_a_store_in_use_is_found_again_whatever_else_was_opened() -> None:
    """Those that somebody holds stay; of the others the last eight do."""
    live: Live[Store] = Live()
    held = live.get("held", Store)
    for number in range(20):
        live.get(number, Store)
    gc.collect()
    assert live.get("held", Store) is held
    opened: list[int] = []
    for number in (19, 18, 1):
        live.get(number, lambda number=number: opened.append(number) or Store())  # type: ignore[misc, arg-type, func-returns-value]
    assert opened == [1]


def test_opening_is_tried_again_when_it_failed() -> None:
    """An error is of the one who asked; the next one tries anew."""
    live: Live[Store] = Live()

    def fails() -> Store:
        raise OSError

    with pytest.raises(OSError):
        live.get("a", fails)
    assert isinstance(live.get("a", Store), Store)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_child_opens_stores_when_it_was_forked_while_one_was_opened(tmp_path: Path) -> None:
    """A lock that a thread of the parent held is free in the child."""
    import subprocess

    script = """
import os, threading
from safellm.stores.live import Live
live, begun, go = Live(), threading.Event(), threading.Event()
class Store: pass
def slowly():
    begun.set(); go.wait(30); return Store()
thread = threading.Thread(target=live.get, args=("a", slowly)); thread.start(); begun.wait(30)
child = os.fork()
if child == 0:
    live.get("a", Store); os._exit(7)
go.set(); thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["7"]


def settings(tmp_path: Path, number: int) -> Policy:
    """Return a policy with a trail of its own."""
    return Policy.model_validate({"audit": {"directory": str(tmp_path / str(number))}})


def test_l_1_a_trail_has_one_journal_when_clients_are_made_in_many_threads(tmp_path: Path) -> None:
    """Two journals over one trail in a process would each have their own idea of its head."""
    gate = threading.Barrier(8)
    before, found = len(jsonl._LIVE), []

    def ask() -> None:
        gate.wait()
        found.append(open_journal(settings(tmp_path, 0), tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1
    assert len(jsonl._LIVE) == before + 1


def test_stores_in_use_stay_when_many_settings_follow(tmp_path: Path) -> None:
    """A program with clients of many settings keeps the journal, the ledger and the conversations of each."""
    first = settings(tmp_path, 0)
    journal, ledger = open_journal(first, tmp_path), live_ledger(first, tmp_path)
    environ = {"SAFELLM_HOME": str(tmp_path)}
    remembering: Any = {"redaction": {"remember": "encrypted", "remember_days": 1}}
    told = conversations_for(Policy.model_validate(remembering), environ)
    known = id(told)
    del told
    for number in range(1, 12):
        open_journal(settings(tmp_path, number), tmp_path)
        file_ledger(tmp_path / f"{number}.sqlite3")
        remembering["redaction"]["remember_days"] = 1 + number
        conversations_for(Policy.model_validate(remembering), environ)
    remembering["redaction"]["remember_days"] = 1
    assert id(conversations_for(Policy.model_validate(remembering), environ)) == known
    assert open_journal(first, tmp_path) is journal
    assert live_ledger(first, tmp_path) is ledger is file_ledger(tmp_path / "ledger.sqlite3")


def test_the_trail_lies_in_the_state_folder_unless_the_policy_names_another(tmp_path: Path) -> None:
    """One rule for clients, commands and reports."""
    assert audit_folder(Policy(), tmp_path) == tmp_path / "audit"
    assert audit_folder(settings(tmp_path, 3), Path(os.sep)) == tmp_path / "3"
