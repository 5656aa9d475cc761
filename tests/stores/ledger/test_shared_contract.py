"""The shared ledgers keep the contract of all ledgers, on real engines."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_engines import PostgresServer, RedisServer

from safellm.stores.ledger.address import open_shared
from safellm.stores.ledger.memory import MemoryEngine
from safellm.stores.ledger.rules import HOUR_NS
from safellm.stores.ledger.shared import SharedLedger
from safellm.testing.ledger_contract import LedgerContract, MakeLedger


def opener(url: str, folder: Path) -> Iterator[MakeLedger]:
    """Open the same ledger at each call, and close them all."""
    made: list[SharedLedger] = []

    def make(*, hold_ttl_ns: int = HOUR_NS) -> SharedLedger:
        made.append(open_shared(url, state=folder))
        made[-1]._hold_ttl_ns = hold_ttl_ns
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


class TestRedisLedger(LedgerContract):
    """On a Redis."""

    @pytest.fixture
    def make_ledger(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[MakeLedger]:
        """A prefix of its own for each test."""
        yield from opener(f"{redis_server.url}?prefix=t{secrets.token_hex(6)}", tmp_path)


class TestPostgresLedger(LedgerContract):
    """On a PostgreSQL."""

    @pytest.fixture
    def make_ledger(self, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[MakeLedger]:
        """A schema of its own for each test."""
        yield from opener(f"{postgres_server.url}&schema=t{secrets.token_hex(6)}", tmp_path)


class TestMemoryLedger(LedgerContract):
    """In this process."""

    @pytest.fixture
    def make_ledger(self) -> MakeLedger:
        """One engine for each test."""
        engine = MemoryEngine()
        return lambda *, hold_ttl_ns=HOUR_NS: SharedLedger(engine, hold_ttl_ns=hold_ttl_ns)
