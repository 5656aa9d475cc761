"""Being told when a module is imported, whoever finds and loads it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from abc import abstractmethod
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Any


class _Loader(importlib.abc.Loader):
    """Runs a module's own loader, then tells the finder."""

    def __init__(self, inner: Any, name: str, finder: OnImport) -> None:
        self._inner, self._name, self._finder = inner, name, finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._inner.create_module(spec)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # `get_code` and the like, for who only looks for the module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner  # programs that look see the module's own loader
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        self._finder.imported(self._name, module)


class OnImport(importlib.abc.MetaPathFinder):
    """Stands first in `sys.meta_path` and lets the others find; only the modules that are waited for get another loader.

    Args:
        names: Of the modules; what is added later counts from then on.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.names = names
        self._busy = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return what the others find; see `importlib.abc.MetaPathFinder`."""
        if name not in self.names or name in getattr(self._busy, "names", ()):
            return None
        self._busy.names = {*getattr(self._busy, "names", ()), name}
        try:
            spec = self._find(name, path, target)
        finally:
            self._busy.names.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, name, self)
        return spec

    @abstractmethod
    def imported(self, name: str, module: ModuleType) -> None:
        """Take note of a module that has run; an error ends its import."""

    def _find(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    return spec
        return None
