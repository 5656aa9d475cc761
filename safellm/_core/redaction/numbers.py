"""Numbers of a JSON body that may be somebody's: a card or an account that a program wrote without quotation marks."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from safellm._core.bodies import Body, JsonBody, MultipartBody, TextBody
from safellm._core.fields import Document, Field, Kind, Trust

Path: TypeAlias = tuple[str | int, ...]

_LEAST = 10**8  # shorter numbers are found by their path only
_EXACT = 2**53  # a double holds every smaller integer
_OWN_NUMBERS = frozenset({"seed", "created", "created_at", "expires_at", "expires_after"})  # the provider's own


def number_fields(body: Body, is_named: Callable[[Path], bool] | None) -> Iterator[Field]:
    """Yield long numbers, and those that the policy names, each as a text; writing to one makes it a string.

    Args:
        body: A request's body.
        is_named: Says whether the policy names a place; None when it names none.
    """
    for document in documents_of(body):
        for value in (document.value, *[inner.value for _, inner in document.nested]):
            if is_named is not None or _holds_long(value):
                yield from _numbers(value, is_named)


def documents_of(body: Body) -> Iterator[Document]:
    """Yield what of a request's body is JSON that the provider reads."""
    match body:
        case JsonBody(document=document):
            yield document
        case TextBody(lines=lines):
            yield from (line for line in lines if isinstance(line, Document))
        case MultipartBody(texts=texts):
            for _, text in texts:
                yield from documents_of(text)
        case _:
            return


def _holds_long(value: Any) -> bool:
    """Return whether there is any number that could be somebody's; most bodies hold none, and need no paths."""
    todo = [value] if type(value) is dict or type(value) is list else []
    for container in todo:  # it grows meanwhile
        for item in container.values() if type(container) is dict else container:
            kind = type(item)
            if kind is dict or kind is list:
                todo.append(item)
            elif (kind is int or kind is float) and not -_LEAST < item < _LEAST:
                return True
    return False


def _numbers(value: Any, is_named: Callable[[Path], bool] | None) -> Iterator[Field]:
    todo: list[tuple[Any, Path]] = [(value, ())]
    while todo:
        container, path = todo.pop()
        if isinstance(container, dict):
            items: Iterable[tuple[str | int, Any]] = container.items()
        elif isinstance(container, list):
            items = enumerate(container)
        else:
            continue
        for key, item in items:
            kind = type(item)
            if kind is dict or kind is list:
                todo.append((item, (*path, key)))
            elif (kind is int or kind is float) and (
                (abs(item) >= _LEAST and key not in _OWN_NUMBERS) or (is_named is not None and is_named((*path, key)))
            ):
                yield Field(
                    container=container,
                    key=key,
                    text=_written(item),
                    kind=Kind.TEXT,
                    trust=Trust.UNTRUSTED,
                    path=(*path, key),
                )


def _written(item: float) -> str:
    if isinstance(item, float) and item.is_integer() and abs(item) < _EXACT:
        return str(int(item))  # 4111111111111111.0 is a card as well
    return str(item)
