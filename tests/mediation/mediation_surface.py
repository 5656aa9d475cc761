"""What the installed SDK offers: every public method of every resource, found by reflection."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

_TEMPLATE = re.compile(
    r"""path_template\(\s*["']([^"']+)["']|self\._(?:get|post|put|patch|delete|get_api_list)\(\s*f?["']([^"']+)["']"""
)
_NAME = re.compile(r"\{(\w+)(?:![rsa])?\}")
_BASES = ("SyncAPIResource", "AsyncAPIResource", "object")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One public method: `chat.completions.create`."""

    path: str
    call: Callable[..., Any]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def resource(self) -> str:
        """Everything before the last part."""
        return self.path.rpartition(".")[0]

    @property
    def function(self) -> Any:
        """The function as it was written, without decorators."""
        return inspect.unwrap(inspect.unwrap(self.call.__func__ if hasattr(self.call, "__func__") else self.call))

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Its parameters by name, without `self`."""
        return {name: one for name, one in inspect.signature(self.function).parameters.items() if name != "self"}

    @property
    def hints(self) -> dict[str, Any]:
        """The types of its parameters and of what it returns."""
        return _hints(self.function)

    @property
    def in_path(self) -> set[str]:
        """Parameters that go into the URL's path."""
        found = _TEMPLATE.findall(inspect.getsource(self.function))
        named = {name for pair in found for text in pair for name in _NAME.findall(text)}
        return named & set(self.parameters)

    @property
    def streams(self) -> bool:
        """Whether it takes `stream=True`."""
        return "stream" in self.parameters


@cache
def _hints(function: Any) -> dict[str, Any]:
    return typing.get_type_hints(function)


def resources(owner: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every resource below a client, with its path."""
    for name in sorted(dir(type(owner))):
        attribute = inspect.getattr_static(type(owner), name)
        if name.startswith(("_", "with_")) or not _is_cached(attribute):
            continue
        value = getattr(owner, name)
        path = f"{prefix}{name}"
        yield path, value
        yield from resources(value, f"{path}.")


def methods(client: Any) -> Iterator[Method]:
    """Yield every public method of every resource below a client."""
    for path, resource in resources(client):
        for name in sorted(dir(type(resource))):
            attribute = inspect.getattr_static(type(resource), name)
            inherited = any(hasattr(base, name) for base in type(resource).__mro__ if base.__name__ in _BASES)
            if name.startswith("_") or inherited or not inspect.isfunction(attribute):
                continue
            yield Method(path=f"{path}.{name}", call=getattr(resource, name))


def _is_cached(attribute: Any) -> bool:
    return type(attribute).__name__ == "cached_property"


def doors(client: Any) -> set[str]:
    """Return the public names of a client that are no resources and no plain values."""
    names = set()
    for name in dir(type(client)):
        attribute = inspect.getattr_static(type(client), name)
        if not name.startswith("_") and not _is_cached(attribute) and inspect.isfunction(attribute):
            names.add(name)
    return names
