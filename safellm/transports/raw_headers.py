"""Headers of httpx and httpx2 as these keep them: name, name in lower case, value. Their public ways decode and encode each."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

Items: TypeAlias = list[tuple[bytes, bytes, bytes]]


@cache
def ways(module: ModuleType) -> tuple[Callable[[Any], Items], Callable[[Items], Any]]:
    """Return what reads a module's headers, and what makes them of items that it then owns."""
    if getattr(module.Headers([(b"A", b"b")]), "_list", None) == [(b"A", b"a", b"b")]:

        def items_of(headers: Any) -> Items:
            return headers._list  # type: ignore[no-any-return]

        def headers_of(items: Items) -> Any:
            made = module.Headers()
            made._list = items
            return made

        return items_of, headers_of
    return _items_of, lambda items: module.Headers([(name, value) for name, _, value in items])


def _items_of(headers: Any) -> Items:
    return [(name, name.lower(), value) for name, value in headers.raw]
