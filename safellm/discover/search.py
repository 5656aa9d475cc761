"""Walks a folder and searches its files."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from safellm.discover.findings import Finding, Report
from safellm.discover.python_code import search_python
from safellm.discover.text_files import is_manifest, search_keys, search_manifest, search_notebook, search_text
from safellm.errors import ConfigurationError

_SKIPPED = frozenset({
    ".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", "site-packages", ".eggs", ".idea", ".ipynb_checkpoints", "vendor", "bower_components",
})  # fmt: skip
_CODE = frozenset({
    ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue", ".svelte", ".go", ".java", ".kt", ".scala", ".groovy",
    ".cs", ".fs", ".vb", ".rb", ".rs", ".php", ".swift", ".r", ".rmd", ".qmd", ".sh", ".bash", ".zsh", ".ps1", ".lua", ".dart",
    ".c", ".cc", ".cpp", ".h", ".hpp", ".m", ".ex", ".exs", ".jl", ".pl", ".http", ".rest",
})  # fmt: skip
_SETTINGS = frozenset(
    {".toml", ".yml", ".yaml", ".json", ".ini", ".cfg", ".conf", ".env", ".properties", ".tf", ".xml"}
)
_LARGEST = 2 * 1024 * 1024  # bytes; larger files are data or bundles


def discover(root: Path) -> Report:
    """Return every use of language models below a folder, or in one file. Symbolic links are not followed.

    Raises:
        ConfigurationError: there is no such file or folder.
    """
    if not root.exists():
        raise ConfigurationError(f"There is no {root}", remedy="Give a folder or a file that exists.")
    findings: list[Finding] = []
    files = 0
    for path in _files(root):
        name = path.name if root.is_file() else path.relative_to(root).as_posix()
        found = _search(path, name)
        if found is not None:
            files += 1
            findings += found
    return Report(root=str(root), files=files, findings=tuple(sorted(set(findings))))


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        # An environment of Python's, whatever its name, says so by this file.
        folders[:] = sorted(one for one in folders if one not in _SKIPPED and not (here / one / "pyvenv.cfg").exists())
        for name in sorted(names):
            path = here / name
            if not path.is_symlink() and path.is_file():
                yield path


def _search(path: Path, name: str) -> list[Finding] | None:
    """Return the findings of a file; None for one of a kind that isn't searched."""
    own, suffix = path.name.lower(), path.suffix.lower()
    environment = own == ".env" or own.startswith(".env.") or suffix == ".env"
    known = suffix in {".py", ".pyw", ".pyi", ".ipynb"} or suffix in _CODE or suffix in _SETTINGS
    if not (known or environment or is_manifest(own) or own in ("dockerfile", "makefile", "procfile")):
        return None
    try:
        if path.stat().st_size > _LARGEST:
            return [_unread(name, "larger than 2 MiB")] if suffix in {".py", ".ipynb"} else None
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return [_unread(name, type(error).__name__)]
    try:
        found = _search_kind(text, name, own, suffix)
    except (SyntaxError, ValueError, RecursionError, AttributeError) as error:
        found = [_unread(name, f"{type(error).__name__}"), *search_text(text, name, ".txt")]
    return [*found, *search_keys(text, name)]


def _search_kind(text: str, name: str, own: str, suffix: str) -> list[Finding]:
    if suffix == ".ipynb":
        return search_notebook(text, name)
    if suffix in {".py", ".pyw", ".pyi"} and own != "setup.py":
        return search_python(text, name)
    if is_manifest(own):
        return search_manifest(text, name, own)
    return search_text(text, name, suffix)


def _unread(name: str, why: str) -> Finding:
    return Finding(file=name, line=1, column=1, rule="unread", what=why)
