"""A ledger in the one document of a plug-in: every change reads it, works on it, and writes it if nobody was faster.

The document is JSON of a whole `MemoryEngine`, so a program that is killed between reading and writing leaves nothing behind, and
two that write at once can't both take the last of a limit. It suits some tens of calls a second; beyond that, take Redis.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

from safellm._core.effects import Amounts
from safellm._core.plugged_stores import Document, LedgerStore
from safellm.stores.ledger.engine import Ask, Counted, EngineFailure, Full, Move, Row, Standing, State
from safellm.stores.ledger.interface import Usage
from safellm.stores.ledger.marks import Mark
from safellm.stores.ledger.memory import MemoryEngine
from safellm.stores.ledger.shared import SharedLedger
from safellm.stores.plugged.found import make_one

_T = TypeVar("_T")
_FORMAT: Final = 1
_WAIT_S: Final = 10.0  # how long one change is tried while others write
_KEEP_CLOSED: Final = 256  # closed reservations that the document holds: late and repeated answers are known by them
_REMEDY: Final = "Look at what its class does, or name another ledger: budget.ledger."


class _State(MemoryEngine):
    """A memory engine that can be written down."""

    def dump(self) -> bytes:
        self._drop_closed()
        value = {
            "format": _FORMAT,
            "mark": [self._mark.generation, self._mark.day],
            "accounts": [[name, sorted(windows.items())] for name, windows in sorted(self._accounts.items())],
            "rows": [asdict(row) for row in self._rows.values()],
            "usage": [[list(key), counts] for key, counts in sorted(self._usage.items())],
        }
        return json.dumps(value, separators=(",", ":")).encode()

    def _drop_closed(self) -> None:
        closed = [name for name, row in self._rows.items() if row.state != "held"]
        for name in closed[:-_KEEP_CLOSED]:
            del self._rows[name]

    @classmethod
    def load(cls, data: bytes) -> _State:
        value = json.loads(data)
        if value["format"] != _FORMAT:
            raise ValueError("another format")
        state = cls()
        generation, day = value["mark"]
        state._mark = Mark(generation=str(generation), day=int(day))
        state._accounts = {
            str(name): {int(window): [int(used), int(held)] for window, (used, held) in windows}
            for name, windows in value["accounts"]
        }
        state._rows = {row["id"]: _row(row) for row in value["rows"]}
        state._usage = {tuple(map(str, key)): list(map(int, counts)) for key, counts in value["usage"]}  # type: ignore[misc]  # four
        return state


def _row(value: dict[str, Any]) -> Row:
    return Row(
        **{
            **value,
            "amounts": Amounts(**value["amounts"]),
            "labels": tuple(value["labels"]),
            "accounts": tuple((name, cost) for name, cost in value["accounts"]),
            "windows": tuple(value["windows"]),
        }
    )


class DocumentEngine:
    """Implements `safellm.stores.ledger.engine.Engine` in the document of a plug-in.

    Args:
        store: The plug-in.
        name: As the policy has it.
        wait_s: How long one operation may take, in seconds.
    """

    def __init__(self, store: LedgerStore, name: str, *, wait_s: float = _WAIT_S) -> None:
        self.address = f"plugin:{name}"
        self._store = store
        self._wait_s = wait_s

    def open(self, day: int) -> Mark:
        """Make the ledger if there is none, note the day, and say what it is."""
        return self._change(lambda state: state.open(day))

    def reserve(self, generation: str, row: Row, asks: Sequence[Ask]) -> tuple[int, ...] | Full:
        """Hold on all accounts and return their windows, or on none."""
        return self._change(lambda state: state.reserve(generation, row, asks), generation)

    def find(self, reservation_id: str) -> Row | None:
        """Return a reservation."""
        return self._look().find(reservation_id)

    def book(self, generation: str, row: Row, moves: Sequence[Move], usage: Counted | None, *, was: State) -> bool:
        """Write `row`, its moves and its usage, if its state is still `was`; return whether it was."""
        return self._change(lambda state: state.book(generation, row, moves, usage, was=was), generation)

    def overdue(self, *, before_us: int, count: int) -> list[Row]:
        """Return the oldest holds that were made at `before_us` or earlier."""
        return self._look().overdue(before_us=before_us, count=count)

    def forget(self) -> None:
        """Nothing: each change leaves out what was closed long ago."""

    def standings(self, accounts: Sequence[str]) -> list[Standing | None]:
        """Return where accounts stand; None where there is none."""
        return self._look().standings(accounts)

    def accounts(self) -> list[str]:
        """Return the names of all accounts."""
        return self._look().accounts()

    def usage(self, since_day: str) -> list[Usage]:
        """Return what was billed, newest day first."""
        return self._look().usage(since_day)

    def renew(self) -> None:
        """Begin a new, empty ledger in the place of the old one."""
        self._change(lambda state: state.renew())

    def close(self) -> None:
        """Have the plug-in let go of what it holds, if it can."""
        close = getattr(self._store, "close", None)
        if callable(close):
            self._ask(close)

    def _look(self) -> _State:
        return self._read()[0]

    def _change(self, work: Callable[[_State], _T], generation: str | None = None) -> _T:
        until = time.monotonic() + self._wait_s
        pause = 0.002
        while True:
            state, version, before = self._read()
            if generation is not None and state.open(0).generation != generation:
                raise EngineFailure("it was exchanged for another one", remedy="Run `safellm budget rearm`.")
            result = work(state)
            after = state.dump()
            if after == before or self._write(after, version):
                return result
            if time.monotonic() > until:
                raise EngineFailure(
                    "others write it all the time", remedy="Take a ledger for more calls.", is_outage=True
                )
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - only spreads the writers
            pause = min(pause * 2, 0.1)

    def _read(self) -> tuple[_State, str | None, bytes]:
        document = self._ask(self._store.read)
        if document is None:
            return _State(), None, b""
        if (
            not isinstance(document, Document)
            or not isinstance(document.data, bytes)
            or not isinstance(document.version, str)
        ):
            raise EngineFailure("its plug-in gave back something that is no document", remedy=_REMEDY)
        try:
            return _State.load(document.data), document.version, document.data
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise EngineFailure("its document is damaged", remedy=_REMEDY)

    def _write(self, data: bytes, version: str | None) -> bool:
        said = self._ask(lambda: self._store.write(data, version))
        if not isinstance(said, bool):  # an asynchronous method, or one that forgets to say
            raise EngineFailure("its plug-in doesn't say whether it wrote", remedy=_REMEDY)
        return said

    def _ask(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except EngineFailure:
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks in a plug-in stops the call (P8)
            # The message may hold an address with a password.
            kind, gone = type(error).__name__, isinstance(error, OSError)
        raise EngineFailure(f"its plug-in broke ({kind})", remedy=_REMEDY, is_outage=gone)


def open_plugged(name: str, settings: Mapping[str, Any], *, state: Path) -> SharedLedger:
    """Return the ledger in a plug-in's document; its first use reads it.

    Args:
        name: As the policy has it.
        settings: Of the plug-in.
        state: Folder of what this machine remembers of ledgers: one that is set back is noticed.

    Raises:
        ConfigurationError: it is missing or can't be made.
    """
    store = make_one("ledger", name, settings, methods=("read", "write"), where="budget.ledger")
    return SharedLedger(DocumentEngine(store, name), mark=state / f"ledger-plugin-{name}.mark")
