"""Patches that are put in when a module is imported, and taken out again."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from safellm.on_import import OnImport

_MISSING = object()
_MARK = "safellm_seam"


class Patches:
    """What was replaced, so that it can be put back."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, object, object]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in place of an attribute of a class or module.

        Args:
            owner: Class or module.
            name: Of the attribute; it may be inherited.
            make: Gets what stood there and returns what stands there from now on.
        """
        own = vars(owner).get(name, _MISSING)
        if getattr(own, _MARK, False):
            return  # the module was reloaded, its class was not made anew
        ours = make(getattr(owner, name))
        functools.update_wrapper(ours, getattr(owner, name))
        setattr(ours, _MARK, True)
        setattr(owner, name, ours)
        self._done.append((owner, name, own, ours))

    def set(self, owner: Any, name: str, value: object) -> None:
        """Put a plain value in place of an attribute of a module."""
        own = vars(owner).get(name, _MISSING)
        setattr(owner, name, value)
        self._done.append((owner, name, own, value))

    def undo(self) -> None:
        """Put everything back, the last first. What somebody else has wrapped since stays, and passes through."""
        while self._done:
            owner, name, own, ours = self._done.pop()
            if vars(owner).get(name) is not ours:
                continue
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)


Patcher = Callable[[ModuleType, Patches], None]


class _Finder(OnImport):
    """Patches the modules of its table."""

    def __init__(self, table: Mapping[str, str]) -> None:
        super().__init__(table)
        self.table = table
        self.patches = Patches()

    def imported(self, name: str, module: ModuleType) -> None:
        """Patch a module; an error ends its import: unpatched it must not be used."""
        where, _, function = self.table[name].partition(":")
        patcher: Patcher = getattr(importlib.import_module(where), function)
        patcher(module, self.patches)


_finder: _Finder | None = None


def install(table: Mapping[str, str]) -> None:
    """Patch the modules of a table: those that are imported now, the others when they are.

    Args:
        table: Patcher by module, as "package.module:function".
    """
    global _finder  # noqa: PLW0603 - one for each process
    if _finder is not None:
        return
    _finder = _Finder(table)
    sys.meta_path.insert(0, _finder)
    try:
        for name in table:
            module = sys.modules.get(name)
            # One that another thread imports at this moment is patched as it stands or once it has run; both know of each other.
            if module is not None:
                _finder.imported(name, module)
    except BaseException:
        uninstall()
        raise


def uninstall() -> None:
    """Take the hook and every patch out."""
    global _finder
    finder, _finder = _finder, None
    if finder is None:
        return
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
    finder.patches.undo()
