"""Where a scan reads: files and folders, notebooks cell by cell, the usual places of a home, what git has staged or ever had."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from safellm.errors import ConfigurationError

SKIPPED: Final = frozenset(
    {
        ".git", ".hg", ".svn", "node_modules", "__pycache__", ".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache",
        ".eggs", "site-packages", "bower_components",
    }
)  # fmt: skip
LARGEST: Final = 32 * 1024 * 1024  # bytes of one file; what is larger is said to be unread
_BINARY_LOOK: Final = 8192
_HISTORIES: Final = (
    ".bash_history", ".zsh_history", ".sh_history", ".python_history", ".psql_history", ".mysql_history", ".node_repl_history",
    ".local/share/fish/fish_history", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".docker/config.json",
    ".aws/credentials", ".kube/config", ".config/gh/hosts.yml", ".profile", ".bash_profile", ".bashrc", ".zshrc", ".zshenv",
    ".zprofile", ".config/fish/config.fish", ".env",
)  # fmt: skip
_GIT_TIMEOUT_S: Final = 600
_HEADER: Final = 3  # words of what `git cat-file` says before an object: number, kind, size


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One text.

    Attributes:
        file: Its file, for findings.
        cell: Number of the notebook's cell from 1, and whether it is an output's.
        commit: The version it is from.
    """

    file: str
    text: str
    cell: int = 0
    output: bool = False
    commit: str = ""
    first_line: int = 0

    def place(self, line: int) -> str:
        """Return where a line of it is, for people."""
        cell = f":cell {self.cell}{' output' if self.output else ''}" if self.cell else ""
        commit = f"{self.commit[:12]}:" if self.commit else ""
        return f"{commit}{self.file}{cell}:{line + self.first_line}"


Unread = Callable[[str, str], None]  # (file, why)


def from_path(path: Path, *, unread: Unread, everything: bool = False) -> Iterator[Source]:
    """Yield the texts of a file or of all files below a folder; links are not followed.

    Args:
        path: A file or folder.
        unread: Is told what can't be read.
        everything: Also folders of tools and dependencies.

    Raises:
        ConfigurationError: there is no such path.
    """
    if not path.exists():
        raise ConfigurationError(f"There is no {path}", remedy="Give a file or a folder that exists.")
    if path.is_file():
        yield from _file(path, path.as_posix(), unread)
        return
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        if not everything:
            folders[:] = [one for one in folders if one not in SKIPPED and not (here / one / "pyvenv.cfg").exists()]
        folders.sort()
        for name in sorted(names):
            file = here / name
            if file.is_file() and not file.is_symlink():
                yield from _file(file, file.as_posix(), unread)


def from_home(home: Path, *, unread: Unread) -> Iterator[Source]:
    """Yield the histories, profiles and settings in which secrets usually stay behind."""
    for name in _HISTORIES:
        path = home / name
        if path.is_file():
            yield from _file(path, path.as_posix(), unread)


def from_bytes(raw: bytes, file: str, *, commit: str = "") -> Iterator[Source]:
    """Yield the texts of a file's content: of a notebook its cells and outputs, of anything else the whole."""
    text = decode(raw)
    if text is not None:
        yield from from_text(text, file, commit=commit)


def from_text(text: str, file: str, *, commit: str = "") -> Iterator[Source]:
    """Yield the texts of a file that was read already."""
    if file.endswith(".ipynb"):
        cells = list(_cells(text, file, commit))
        if cells:
            yield from cells
            return
    yield Source(file=file, text=text, commit=commit)


def decode(raw: bytes) -> str | None:
    """Return the text of a file, None for a binary one: UTF-8, UTF-16 with its mark, else Latin-1."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    if b"\0" in raw[:_BINARY_LOOK]:
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def from_staged(folder: Path) -> Iterator[Source]:
    """Yield what `git commit` would take now: the staged content of changed files.

    Raises:
        ConfigurationError: git is missing or this is no repository.
    """
    listed = _git(folder, "diff", "--cached", "--name-only", "--diff-filter=ACMR", "-z")
    for name in filter(None, listed.decode("utf-8", "replace").split("\0")):
        yield from from_bytes(_git(folder, "show", f":{name}"), name)


def from_history(folder: Path, *, tick: Callable[[int, int], None]) -> Iterator[Source]:
    """Yield every version of every file that a repository ever had, each content once.

    Args:
        folder: In the repository.
        tick: Is told how many versions of how many are done.

    Raises:
        ConfigurationError: git is missing or this is no repository.
    """
    named: dict[str, str] = {}
    for line in _git(folder, "rev-list", "--all", "--objects").decode("utf-8", "replace").splitlines():
        number, _, name = line.partition(" ")
        if name:
            named.setdefault(number, name)
    check = _git(folder, "cat-file", "--batch-check=%(objecttype) %(objectsize) %(objectname)", "--buffer", given=named)
    kinds = (line.split() for line in check.decode("ascii", "replace").splitlines())
    numbers = [number for kind, size, number in kinds if kind == "blob" and int(size) <= LARGEST]
    command = [_program(), "-C", str(folder), "cat-file", "--batch", "--buffer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - git itself
        assert process.stdin is not None
        assert process.stdout is not None
        asking = threading.Thread(target=_ask, args=(process.stdin, numbers), name="safellm-scan", daemon=True)
        asking.start()
        try:
            for done, number in enumerate(numbers, 1):
                header = process.stdout.readline().split()
                if len(header) != _HEADER:
                    raise _unreadable(folder)
                raw = process.stdout.read(int(header[2]) + 1)[:-1]
                tick(done, len(numbers))
                yield from from_bytes(raw, named[number], commit=number)
        finally:
            process.kill()  # of use only where the search ended early
            asking.join()


def _ask(pipe: IO[bytes], numbers: Iterable[str]) -> None:
    """Name all objects at once: git reads ahead while the search works."""
    with suppress(BrokenPipeError), pipe:  # it ended before it was asked for all of them
        pipe.writelines(f"{number}\n".encode() for number in numbers)


def commit_of(folder: Path, blob: str) -> str:
    """Return the first commit that holds a version of a file; the version's own number if there is none."""
    found = _git(folder, "log", "--all", "--reverse", "--format=%H", f"--find-object={blob}").decode().split()
    return found[0] if found else blob


def _file(path: Path, name: str, unread: Unread) -> Iterator[Source]:
    try:
        if path.stat().st_size > LARGEST:
            unread(name, f"larger than {LARGEST // 1024 // 1024} MiB")
            return
        raw = path.read_bytes()
    except OSError as error:
        unread(name, error.strerror or type(error).__name__)
        return
    yield from from_bytes(raw, name)


def _cells(text: str, file: str, commit: str) -> Iterator[Source]:
    """Yield sources and outputs of a Jupyter notebook (nbformat 3 and 4); nothing when it is none."""
    try:
        book = json.loads(text)
        cells = book.get("cells") or [one for sheet in book.get("worksheets", ()) for one in sheet.get("cells", ())]
        found = [(one.get("source", one.get("input", "")), one.get("outputs", [])) for one in cells]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return
    rest = {**book, "cells": [], "worksheets": []}
    yield Source(file=file, text=json.dumps(rest), commit=commit)
    for number, (source, outputs) in enumerate(found, 1):
        yield Source(file=file, text=_joined(source), cell=number, commit=commit)
        for part in _texts(outputs):
            yield Source(file=file, text=part, cell=number, output=True, commit=commit)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        yield _joined(value)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if not name.startswith(("image/", "application/pdf")):  # base64 of pictures
                yield from _texts(one)


def _joined(value: Any) -> str:
    return "".join(one for one in value if isinstance(one, str)) if isinstance(value, list) else str(value)


def _program() -> str:
    found = shutil.which("git")
    if found is None:
        raise ConfigurationError("git is not installed", remedy="Install it, or scan the files alone.")
    return found


def _git(folder: Path, *arguments: str, given: Iterable[str] = ()) -> bytes:
    command = [_program(), "-C", str(folder), *arguments]
    text = "".join(f"{one}\n" for one in given).encode()
    done = subprocess.run(  # noqa: S603 - git itself, with arguments of ours
        command, input=text, capture_output=True, check=False, timeout=_GIT_TIMEOUT_S
    )
    if done.returncode:
        raise _unreadable(folder)
    return done.stdout


def _unreadable(folder: Path) -> ConfigurationError:
    return ConfigurationError(
        "There is no git repository here that can be read",
        remedy="Run it inside one, or leave out what asks for git (--history, --staged, --install-hook).",
        where=str(folder),
    )


def hooks_folder(folder: Path) -> Path:
    """Return where a repository keeps its hooks.

    Raises:
        ConfigurationError: this is no repository.
    """
    return folder / _git(folder, "rev-parse", "--git-path", "hooks").decode().strip()
