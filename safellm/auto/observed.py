"""`safellm run --observe`: note which language models a program calls and through what, and change nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safellm._core.origin import Origin
from safellm.auto import children, gate, hooks, table
from safellm.auto.targets import find_target

_MOST_FRAMES = 200
_LONGEST = 300
_HIGHEST = 99
_lock = threading.Lock()
# Packages that stand between a program and the wire; the outermost one of them is what the program uses.
_LIBRARIES = (
    "openai", "anthropic", "google.genai", "google.generativeai", "litellm", "langchain_openai", "langchain_anthropic",
    "langchain_google_genai", "langchain_core", "llama_index", "instructor", "pydantic_ai", "agents", "dspy", "haystack",
    "semantic_kernel", "crewai", "autogen_ext", "smolagents", "huggingface_hub", "mistralai", "groq", "together", "cohere",
    "ollama", "boto3", "requests", "httpx", "httpx2", "aiohttp", "urllib3", "urllib.request",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Calls to one origin through one library from one place.

    Attributes:
        path: Of the URL of the first of them.
        library: What opened the connection.
        through: What the program called, as far as the stack tells; the library itself where it was called directly.
        caller: Module or file of the program, and the line.
    """

    origin: str
    provider: str
    path: str
    library: str
    through: str
    caller: str
    calls: int


def observe() -> None:
    """Note calls of this process and its Python children into the file that `safellm run --observe` names."""
    file = os.environ.get(children.REPORT)
    if not file:
        return
    gate.STATE.note = lambda origin, path, library: _note(file, origin, path, library)
    hooks.install(table.SEAMS)
    children.install("observe")


def read_report(file: Path) -> list[Observation]:
    """Return what was noted, the most frequent first; a line that was cut off is left out."""
    counts: Counter[tuple[str, ...]] = Counter()
    paths: dict[tuple[str, ...], str] = {}
    for line in file.read_text("utf-8", "replace").splitlines():
        try:
            origin, provider, path, library, through, caller = json.loads(line)
        except ValueError:
            continue
        key = (origin, provider, library, through, caller)
        counts[key] += 1
        paths.setdefault(key, path)
    # A call is seen at each library that it goes through: the uppermost tells most, and counts right.
    best: dict[tuple[str, str], int] = {}
    for seen in counts:
        place = (seen[0], seen[4])
        best[place] = min(best.get(place, _HIGHEST), _depth(seen[2]))
    counts = Counter({key: calls for key, calls in counts.items() if _depth(key[2]) == best[key[0], key[4]]})
    return [
        Observation(
            origin=key[0], provider=key[1], path=paths[key], library=key[2], through=key[3], caller=key[4], calls=calls
        )
        for key, calls in counts.most_common()
    ]


def _depth(library: str) -> int:
    return 2 if library == "tls" else 1 if library in ("urllib3", "http.client", "botocore", "httplib2") else 0


def _note(file: str, origin: Origin, path: str, library: str) -> None:
    target = find_target(origin, path)
    through, caller = _who()
    row = [str(origin), "" if target is None else target.name, path[:_LONGEST], library, through or library, caller]
    data = (json.dumps(row) + "\n").encode()
    with _lock:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, data)  # one write: lines of several processes don't mix (POSIX, and NTFS for such sizes)
        finally:
            os.close(handle)


def _who() -> tuple[str, str]:
    """Return the outermost known library on the stack, and the innermost frame of the program itself."""
    names = []
    caller = ""
    frame = sys._getframe(2)  # noqa: SLF001 - the stack is what there is to know a caller by
    for _ in range(_MOST_FRAMES):
        name = frame.f_globals.get("__name__", "")
        names.append(name)
        file = frame.f_code.co_filename
        if not caller and not _is_library(file) and not name.startswith(("safellm.", "importlib")):
            caller = f"{name if name != '__main__' else Path(file).name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return _outermost(names), caller


def _outermost(names: Iterable[str]) -> str:
    found = ""
    for name in names:
        found = next((one for one in _LIBRARIES if name == one or name.startswith(f"{one}.")), found)
    return found


def _is_library(file: str) -> bool:
    return file.startswith(("<frozen", *_roots())) or "site-packages" in file or "dist-packages" in file


def _roots() -> tuple[str, ...]:
    return (sysconfig.get_paths()["stdlib"] + os.sep,)
