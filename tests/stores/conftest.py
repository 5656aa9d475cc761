"""Real servers, one of each for all tests of stores."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger_engines import EngineMissing, PostgresServer, RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis with an append-only file."""
    pytest.importorskip("redis")
    try:
        server = RedisServer()
    except EngineMissing:
        pytest.skip("redis-server is not installed")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL."""
    pytest.importorskip("psycopg")
    try:
        server = PostgresServer()
    except EngineMissing:
        pytest.skip("PostgreSQL is not installed")
    server.start()
    yield server
    server.stop()
