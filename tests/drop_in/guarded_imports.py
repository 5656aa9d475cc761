"""A pytest plugin: the test modules of an SDK's own suite import the guarded drop-in wherever they write the SDK's name.

It is the swap that a user makes (`import safellm.openai as openai`), made for every module of the suite at once: the SDK's own
modules go on importing themselves. Load it with `-p guarded_imports`, from a folder on `PYTHONPATH`; the variable `GUARDED_SDK`
names the SDK (`openai`, `anthropic` or `google.genai`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import builtins
import importlib
import os
import sys
from types import ModuleType
from typing import Any

_CLASSES = {
    "openai": ("OpenAI", "AzureOpenAI", "BedrockOpenAI"),
    "anthropic": ("Anthropic", "AnthropicFoundry", "AnthropicVertex", "AnthropicGoogleCloud", "AnthropicAWS",
                  "AnthropicBedrock", "AnthropicBedrockMantle"),
    "google.genai": (),
}  # fmt: skip
_NAME = os.environ.get("GUARDED_SDK", "openai")
_SDK = importlib.import_module(_NAME)
_DROP_IN = importlib.import_module(f"safellm.{_NAME}")
_CLIENTS = (
    frozenset({"Client", "AsyncClient", *(f"{way}{name}" for way in ("", "Async") for name in _CLASSES[_NAME])})
    if _CLASSES[_NAME]
    else frozenset({"Client"})  # one class with both sides; its `AsyncClient` is a part of it
)
# The suite's own modules, and the SDK's examples, which the suite runs by their path.
_SWAPPING = ("tests", "<run_path>", f"{_NAME}.tests")
_import = builtins.__import__


class _Face(ModuleType):
    """A module of the SDK (`openai.lib.azure`) with the guarded classes in it."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name in _CLIENTS:
            return getattr(_DROP_IN, name)
        return _faced(getattr(self._module, name))

    def __setattr__(self, name: str, value: Any) -> None:
        # What a test patches, it patches where the SDK finds it.
        target = self if name.startswith("__") or name == "_module" else self._module
        object.__setattr__(target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._module, name)


def _faced(value: Any) -> Any:
    """Return the SDK's module that holds the plain class (`google.genai.client`) with the guarded one in it."""
    own = isinstance(value, ModuleType) and value.__name__.startswith(f"{_NAME}.")
    return _Face(value) if own and not _CLIENTS.isdisjoint(vars(value)) else value


def _is_swapping(importer: str) -> bool:
    return any(importer == one or importer.startswith(f"{one}.") for one in _SWAPPING)


def _guarded(
    name: str,
    globals: Any = None,  # noqa: A002 - the names of `__import__`
    locals: Any = None,  # noqa: A002 - the same
    fromlist: tuple[str, ...] | None = (),
    level: int = 0,
) -> Any:
    found = _import(name, globals, locals, fromlist, level)
    if not _is_swapping(str((globals or {}).get("__name__", ""))):
        return found
    if level:
        # A suite inside its SDK: `from ... import client`.
        return _Face(found) if found is _SDK else _faced(found)
    if found is _SDK:
        return _DROP_IN
    if name == _NAME.partition(".")[0] and _NAME.rpartition(".")[2] in (fromlist or ()):
        return _Namespace(found)
    if name.startswith(f"{_NAME}.") and _CLIENTS.intersection(fromlist or ()):
        return _Face(found)
    return found


class _Namespace(ModuleType):
    """A package around the SDK (`google`) with the drop-in in it."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return _DROP_IN if name == _NAME.rpartition(".")[2] else getattr(self._module, name)


builtins.__import__ = _guarded
assert "tests.conftest" not in sys.modules, "load this plugin with -p, before the suite's own conftest"
