"""Submodules of the drop-ins: `from safellm.openai.lib.azure import AzureOpenAI` gives the guarded class.

A drop-in has the SDK's submodules under its own name. They are the SDK's own modules; where one holds a class of clients, or
modules that do, a face of it stands there with the guarded classes in it. Without this the interpreter would find the SDK's files
through the drop-in's `__path__` and run them once more, with plain clients in them.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Face(ModuleType):
    """A module of an SDK with the guarded classes in it. What is set on it is set on the SDK's, where the SDK finds it."""

    def __init__(self, name: str, module: ModuleType, finder: _Submodules) -> None:
        super().__init__(name, module.__doc__)
        self._module, self._finder = module, finder
        self.__file__ = getattr(module, "__file__", None)
        if hasattr(module, "__path__"):
            self.__path__: list[str] = []  # no other finder than ours looks for what is below

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # for tools of tests, which look there what they replace
        return {name: getattr(self, name) for name in [*vars(self._module)]}

    def __getattr__(self, name: str) -> Any:
        if name == "__all__" and not hasattr(self._module, name):
            return [one for one in dir(self._module) if not one.startswith("_")]
        return self._finder.guarded(getattr(self._module, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or name in ("_module", "_finder") or isinstance(value, _Face):
            object.__setattr__(self, name, value)
        elif not (isinstance(value, ModuleType) and value.__name__ == f"{self._module.__name__}.{name}"):
            setattr(self._module, name, value)  # else it is the interpreter's, and that name may be for something else

    def __delattr__(self, name: str) -> None:
        delattr(self._module, name)

    def __dir__(self) -> list[str]:
        return dir(self._module)


class _Submodules(MetaPathFinder, Loader):
    """Finds the submodules of one drop-in."""

    def __init__(self, drop_in: str, sdk: ModuleType, classes: Mapping[Any, Any]) -> None:
        self._drop_in, self._sdk, self._classes = f"{drop_in}.", f"{sdk.__name__}.", classes
        self._homes = [f"{plain.__module__}." for plain in classes]

    def guarded(self, value: Any) -> Any:
        """Return what stands for a value of one of the SDK's modules: the guarded class, a module's face, or itself."""
        if issubclass(type(value), ModuleType):
            name = value.__name__
            return import_module(self._drop_in + name.removeprefix(self._sdk)) if name.startswith(self._sdk) else value
        return self._classes.get(value, value) if _is_class(value) else value

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol's
    ) -> ModuleSpec | None:
        """Return how a submodule is made, or None for a module of somebody else and one that the SDK doesn't have."""
        if not fullname.startswith(self._drop_in):
            return None
        found = find_spec(self._sdk + fullname.removeprefix(self._drop_in))
        return (
            None
            if found is None
            else ModuleSpec(fullname, self, is_package=found.submodule_search_locations is not None)
        )

    def exec_module(self, module: ModuleType) -> None:
        """Put the SDK's module, or its face, where the interpreter looks for what was imported."""
        name = module.__name__
        real = import_module(self._sdk + name.removeprefix(self._drop_in))
        sys.modules[name] = _Face(name, real, self) if self._needs_face(real) else real

    def _needs_face(self, module: ModuleType) -> bool:
        name = f"{module.__name__}."
        if any(one.startswith(name) for one in self._homes):
            return True
        for below, one in [*vars(module).items()]:
            # The interpreter binds a submodule in what it takes for its package: not where that name is for something else.
            if (_is_class(one) and one in self._classes) or sys.modules.get(name + below, one) is not one:
                return True
        return False


def _is_class(value: Any) -> bool:
    # Not `isinstance`: the SDK's proxies of what is loaded late would load it.
    return issubclass(type(value), type)


def mirror(drop_in: dict[str, Any], sdk: ModuleType) -> Any:
    """Have the SDK's submodules stand below a drop-in, with the guarded classes in them.

    Args:
        drop_in: The drop-in's namespace. Where a class of the SDK has another class of the same name there, that one is meant.
        sdk: The SDK's module.

    Returns:
        What turns a value of the SDK's namespace into what the drop-in gives for it.
    """
    classes = {
        plain: ours
        for name, ours in drop_in.items()
        if not name.startswith("_") and _is_class(ours) and (plain := getattr(sdk, name, ours)) is not ours
    }
    drop_in["__path__"] = []  # a package, without a place: only the finder below knows what is in it
    name = drop_in["__name__"]
    before = [one for one in sys.meta_path if isinstance(one, _Submodules) and one._drop_in == f"{name}."]  # noqa: SLF001
    for one in before:  # of a drop-in that is loaded anew
        sys.meta_path.remove(one)
        for made in [each for each in sys.modules if each.startswith(f"{name}.")]:
            del sys.modules[made]
    finder = _Submodules(name, sdk, classes)
    sys.meta_path.insert(0, finder)
    return finder.guarded
