"""The durable audit trail."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from safellm._core.effects import JSON


class Receipt(NamedTuple):
    """Where a record stands in its chain."""

    seq: int
    hash: str  # lower-case hex SHA-256


class Journal(Protocol):
    """An append-only chain of records, shared by threads and processes.

    Raises:
        GuardFailure: with `Reason.AUDIT_UNAVAILABLE` when a record can't be made durable.
        Busy: a call with `wait=False` would block; nothing was written.
    """

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
        """Write one record, as safely as the journal promises; it outlives this process at least."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...
