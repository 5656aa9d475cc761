"""A pytest plugin: the test modules of an SDK's own suite import the guarded drop-in wherever they write the SDK's name.

It is the swap that a user makes (`import safellm.openai as openai`), made for every module of the suite at once: the SDK's own
modules go on importing themselves. Load it with `-p guarded_imports`, from a folder on `PYTHONPATH`; the variable `GUARDED_SDK`
names the SDK (`openai` or `anthropic`).
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
}  # fmt: skip
_NAME = os.environ.get("GUARDED_SDK", "openai")
_SDK = importlib.import_module(_NAME)
_DROP_IN = importlib.import_module(f"safellm.{_NAME}")
_CLIENTS = frozenset({"Client", "AsyncClient", *(f"{way}{name}" for way in ("", "Async") for name in _CLASSES[_NAME])})
# The suite's own modules, and the SDK's examples, which the suite runs by their path.
_SWAPPING = frozenset({"tests", "<run_path>"})
_import = builtins.__import__


class _Face(ModuleType):
    """A module of the SDK (`openai.lib.azure`) with the guarded classes in it."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(_DROP_IN if name in _CLIENTS else self._module, name)


def _guarded(
    name: str,
    globals: Any = None,  # noqa: A002 - the names of `__import__`
    locals: Any = None,  # noqa: A002 - the same
    fromlist: tuple[str, ...] | None = (),
    level: int = 0,
) -> Any:
    found = _import(name, globals, locals, fromlist, level)
    importer = str((globals or {}).get("__name__", ""))
    if level or importer.partition(".")[0] not in _SWAPPING:
        return found
    if found is _SDK:
        return _DROP_IN
    if name.startswith(f"{_NAME}.") and _CLIENTS.intersection(fromlist or ()):
        return _Face(found)
    return found


builtins.__import__ = _guarded
assert "tests.conftest" not in sys.modules, "load this plugin with -p, before the suite's own conftest"
