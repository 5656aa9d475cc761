"""What is remembered of requests, so that the next ones like them cost less: a few things each, for a client has few endpoints."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def remember(memory: dict[_Key, _Value], key: _Key, value: _Value, *, most: int) -> None:
    """Keep a value. A memory that is full is cleared: who uses it finds everything out anew, and few ever fill one.

    Args:
        memory: Looked into by its owner, who does that for each request and needs no call for it.
        key: What the value depends on, as far as it isn't compared with it.
        value: Replaces one of the same key.
        most: Things that are kept.
    """
    if len(memory) >= most and key not in memory:
        memory.clear()
    memory[key] = value
