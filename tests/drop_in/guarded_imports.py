"""A pytest plugin: the test modules of the SDK's own suite import the guarded drop-in wherever they write `openai`.

It is the swap that a user makes (`import safellm.openai as openai`), made for every module of the suite at once: the SDK's own
modules go on importing themselves. Load it with `-p guarded_imports`, from a folder on `PYTHONPATH`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import builtins
import sys
from types import ModuleType
from typing import Any

import openai

import safellm.openai

_SWAPPED = ("OpenAI", "AsyncOpenAI", "Client", "AsyncClient", "AzureOpenAI", "AsyncAzureOpenAI")
_SWAPPED_TOO = ("BedrockOpenAI", "AsyncBedrockOpenAI")
_import = builtins.__import__


class _Face(ModuleType):
    """A module of the SDK with the guarded classes in it."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        source = safellm.openai if name in (*_SWAPPED, *_SWAPPED_TOO) else self._module
        return getattr(source, name)


def _guarded(
    name: str, globals: Any = None, locals: Any = None, fromlist: tuple[str, ...] | None = (), level: int = 0
) -> Any:
    found = _import(name, globals, locals, fromlist, level)
    importer = (globals or {}).get("__name__", "")
    if level or importer.partition(".")[0] not in {"tests", "conftest"}:
        return found
    if found is openai:
        return safellm.openai
    if name.startswith("openai.") and set(fromlist or ()) & {*_SWAPPED, *_SWAPPED_TOO}:
        return _Face(found)
    return found


builtins.__import__ = _guarded
assert "tests.conftest" not in sys.modules, "load this plugin with -p, before the suite's own conftest"
