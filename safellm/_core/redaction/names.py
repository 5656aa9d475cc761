"""Names of members that hold something registered: short names are no fields of a body, because no rule finds anything there."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safellm._core.bodies import Body
from safellm._core.fields import Field, Kind, Trust
from safellm._core.redaction.numbers import Path, documents_of
from safellm._core.redaction.spots import Finder


def name_fields(body: Body, registered: Finder | None) -> Iterator[Field]:
    """Yield the names in a request's objects in which something registered stands; writing to one renames the member.

    Args:
        body: A request's body.
        registered: What to look for; None for nothing.
    """
    if registered is None:
        return
    for document in documents_of(body):
        known = {(id(one.container), one.key) for one in document.all_fields() if one.is_key}
        for value in (document.value, *[inner.value for _, inner in document.nested]):
            held = {one for container, _ in _objects(value) for one in container}
            if not registered.find("\n".join(held)):
                continue
            for container, path in _objects(value):
                for name in [one for one in container if (id(container), one) not in known and registered.find(one)]:
                    yield Field(
                        container=container, key=name, text=name, kind=Kind.IDENTIFIER, trust=Trust.UNTRUSTED,
                        path=(*path, name), is_key=True,
                    )  # fmt: skip


def _objects(value: Any) -> Iterator[tuple[dict[str, Any], Path]]:
    todo: list[tuple[Any, Path]] = [(value, ())]
    while todo:
        container, path = todo.pop()
        if isinstance(container, dict):
            yield container, path
            todo += [(one, (*path, key)) for key, one in container.items() if isinstance(one, (dict, list))]
        elif isinstance(container, list):
            todo += [(one, (*path, at)) for at, one in enumerate(container) if isinstance(one, (dict, list))]
