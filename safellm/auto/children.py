"""Python children are guarded too: they inherit a folder with a `sitecustomize` that installs the guard before any code.

* `subprocess` (and `os.exec*`, `os.posix_spawn`) with an environment of their own get the two variables as well.
* A Python that is told to ignore them (`-I`, `-E`, `-S`) would run unguarded: it is refused.
* `fork` copies the patched process. `multiprocessing`'s other ways start Python with this process's environment.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from safellm.auto import gate
from safellm.auto.hooks import Patches
from safellm.errors import Reason, Refused

MARK = "_SAFELLM_RUN"  # "guard" or "observe"; not a setting, so not of the form SAFELLM_*
REPORT = "_SAFELLM_REPORT"  # file that `--observe` collects in
BOOTSTRAP = Path(__file__).parent / "bootstrap"
_PYTHON = re.compile(r"(?:python|pypy)w?[0-9.]*t?(?:\.exe)?", re.IGNORECASE)
_BLIND = frozenset("IES")
_TAKES_VALUE = frozenset("cmWX")
_patches = Patches()
_set: dict[str, tuple[str | None, str]] = {}


def variables(environ: Mapping[str, str], how: str) -> dict[str, str]:
    """Return the variables that make a Python child install the guard.

    Args:
        environ: What the child gets otherwise; its `PYTHONPATH` is kept behind ours.
        how: "guard" or "observe".
    """
    rest = [one for one in environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != str(BOOTSTRAP)]
    return {"PYTHONPATH": os.pathsep.join([str(BOOTSTRAP), *rest]), MARK: how}


def install(how: str = "guard") -> None:
    """Have children inherit what this process does."""
    for name, value in variables(os.environ, how).items():
        _set[name] = (os.environ.get(name), value)
        os.environ[name] = value
    for name in ("execve", "posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            _patches.replace(os, name, _with_environment)
    _patches.replace(os, "execv", _checked)


def uninstall() -> None:
    """Undo it."""
    _patches.undo()
    for name, (before, ours) in _set.items():
        if os.environ.get(name) != ours:
            continue
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    _set.clear()


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `subprocess`, through which `asyncio` and `multiprocessing`'s helpers go as well."""
    patches.replace(module.Popen, "__init__", _popen)


def _popen(original: Any) -> Any:
    def start(self: Any, args: Any, *rest: Any, **named: Any) -> None:
        at = 9  # position of `env` after `args`, since Python 3.0
        words = [args] if isinstance(args, (str, bytes, os.PathLike)) else list(args)
        shell = named.get("shell", rest[7] if len(rest) > 7 else False)  # noqa: PLR2004 - position of `shell`
        if not shell:
            program = named.get("executable", rest[1] if len(rest) > 1 else None)
            _refuse_blind([program, *words[1:]] if program is not None else words)
        if named.get("env") is not None:
            named["env"] = _joined(named["env"])
        elif len(rest) > at and rest[at] is not None:
            rest = (*rest[:at], _joined(rest[at]), *rest[at + 1 :])
        original(self, args if isinstance(args, (str, bytes, os.PathLike)) else words, *rest, **named)

    return start


def _with_environment(original: Any) -> Any:
    def start(path: Any, argv: Any, env: Any, *rest: Any, **named: Any) -> Any:
        _refuse_blind(list(argv))
        return original(path, argv, _joined(env), *rest, **named)

    return start


def _checked(original: Any) -> Any:
    def start(path: Any, argv: Any) -> Any:
        _refuse_blind(list(argv))
        return original(path, argv)

    return start


def _joined(env: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a child's environment with our variables; names and values may be bytes."""
    as_bytes = any(isinstance(name, bytes) for name in env)
    plain = {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
    ours = variables(plain, os.environ.get(MARK, "guard"))
    if REPORT in os.environ:
        ours[REPORT] = os.environ[REPORT]
    if as_bytes:
        return {**env, **{os.fsencode(name): os.fsencode(value) for name, value in ours.items()}}
    return {**env, **ours}


def _refuse_blind(words: Sequence[Any]) -> None:
    """Refuse a Python that wouldn't see our variables.

    Raises:
        Refused: it is one, and guards are on.
    """
    if not gate.STATE.installed or not words:
        return
    first, *rest = (os.fsdecode(one) for one in words)
    if _PYTHON.fullmatch(Path(first).name) is None:
        return
    options = iter(rest)
    for word in options:
        if not word.startswith("-") or word in ("-", "--") or word.startswith("--"):
            return
        if word in ("-W", "-X"):
            next(options, None)  # its value
            continue
        for letter in word[1:]:
            if letter in _BLIND:
                raise Refused(
                    f"A Python child was started with -{letter}, which keeps the guard out of it",
                    guard="mediation",
                    reason=Reason.MEDIATION_UNSUPPORTED,
                    remedy="Start it without that option, or outside of `safellm run`.",
                )
            if letter in _TAKES_VALUE:
                if letter in "cm":
                    return  # what follows is the program's
                break
