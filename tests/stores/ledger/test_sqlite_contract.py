"""The SQLite ledger keeps the contract of all ledgers."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from safellm.stores.ledger.rules import HOUR_NS
from safellm.stores.ledger.sqlite import SQLiteLedger
from safellm.testing.ledger_contract import LedgerContract, MakeLedger


class TestSQLiteLedger(LedgerContract):
    """Runs the contract on one file per test."""

    @pytest.fixture
    def make_ledger(self, tmp_path: Path) -> Iterator[MakeLedger]:
        """Open the same file at each call."""
        made: list[SQLiteLedger] = []

        def make(*, hold_ttl_ns: int = HOUR_NS) -> SQLiteLedger:
            made.append(SQLiteLedger(tmp_path / "ledger.db", hold_ttl_ns=hold_ttl_ns))
            return made[-1]

        yield make
        for ledger in made:
            ledger.close()
