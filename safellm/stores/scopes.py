"""Scopes: blocks of code whose calls may do less than their credential allows."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from safellm._core import caveats as rules
from safellm._core.effects import JSON
from safellm._core.origin import parse_origin
from safellm._core.standing import Scope
from safellm.errors import ConfigurationError

_active: ContextVar[tuple[Scope, ...]] = ContextVar("safellm_scopes", default=())


@contextmanager
def scope(  # noqa: PLR0913 - the caveats of a scope
    *,
    model: str | Iterable[str] | None = None,
    operation: str | Iterable[str] | None = None,
    origin: str | Iterable[str] | None = None,
    tools: str | Iterable[str] | None = None,
    stream: bool | None = None,
    max_tokens: int | None = None,
    calls: int | None = None,
    budget: str | None = None,
    without: str | Iterable[str] | None = None,
    expires: str | None = None,
) -> Iterator[None]:
    """Narrow what the calls made inside may do, in this task or thread and the tasks that it starts.

    Scopes nest, and each only narrows: what any of them, or the grant of the client, denies is refused. Each entry has accounts
    of its own in the ledger. A new thread starts without them, unless it runs in a copy of this context:
    `threading.Thread(target=contextvars.copy_context().run, args=(function,))`.

    Args:
        model: Names of models; `*` stands for any text.
        operation: Names of operations: `chat`, `embeddings`, …
        origin: Addresses, as `https://host[:port]`.
        tools: Names of tools that may be declared; an empty list: none.
        stream: Only streamed calls, or none of them.
        max_tokens: Output tokens of one call.
        calls: Attempts in all.
        budget: Spending in all: `0.10usd`, `20000tokens`.
        without: Types of data that may not be in a request, even hidden: `EMAIL`, `SECRET`, `*`.
        expires: How long calls may begin: `30min`, `8h`.

    Raises:
        ConfigurationError: nothing is narrowed, or a value can't be read.
    """
    found: list[tuple[str, JSON]] = []
    lists = (("model", model), ("operation", operation), ("tool", tools), ("without", without))
    found += [(name, rules.names(value)) for name, value in lists if value is not None]
    if origin is not None:
        found.append(("origin", [str(parse_origin(str(one))) for one in rules.names(origin)]))
    if budget is not None:
        found.append(("budget", rules.parse_amount(budget)))
    if expires is not None:
        found.append(("expires", int(time.time()) + rules.parse_duration(expires)))
    plain = (("stream", stream), ("max_output_tokens", max_tokens), ("calls", calls))
    found += [(name, value) for name, value in plain if value is not None]
    if not found:
        raise ConfigurationError("A scope has to narrow something", remedy="Say what, such as model='gpt-5*'.")
    for name, value in found:
        rules.encode(name, value)  # refuses what can't be a caveat
    token = _active.set((*_active.get(), Scope(id=os.urandom(8).hex(), caveats=tuple(found))))
    try:
        yield
    finally:
        _active.reset(token)


def current_scopes() -> tuple[Scope, ...]:
    """Return the scopes around this task or thread, the outermost first."""
    return _active.get()
