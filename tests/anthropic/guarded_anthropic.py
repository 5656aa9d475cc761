"""A pytest plugin: the test modules of the SDK's own suite import the guarded drop-in wherever they write `anthropic`.

It is the swap that a user makes (`import safellm.anthropic as anthropic`), made for every module of the suite at once: the SDK's
own modules go on importing themselves. Load it with `-p guarded_anthropic`, from a folder on `PYTHONPATH`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import builtins
import sys
from types import ModuleType
from typing import Any

import anthropic
import safellm.anthropic

_NAMES = ("Anthropic", "AnthropicFoundry", "AnthropicVertex", "AnthropicGoogleCloud", "AnthropicAWS", "AnthropicBedrock",
          "AnthropicBedrockMantle")  # fmt: skip
_CLIENTS = frozenset(f"{prefix}{name}" for prefix in ("", "Async") for name in _NAMES) | {"Client", "AsyncClient"}
# The suite's own modules, and the SDK's examples, which the suite runs by their path.
_SWAPPING = frozenset({"tests", "<run_path>"})
_import = builtins.__import__


class _Face(ModuleType):
    """A module of the SDK (`anthropic.lib.vertex`) with the guarded classes in it."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(safellm.anthropic if name in _CLIENTS else self._module, name)


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
    if found is anthropic:
        return safellm.anthropic
    if name.startswith("anthropic.") and _CLIENTS.intersection(fromlist or ()):
        return _Face(found)
    return found


builtins.__import__ = _guarded
assert "tests.conftest" not in sys.modules, "load this plugin with -p, before the suite's own conftest"
