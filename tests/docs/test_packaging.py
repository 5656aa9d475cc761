"""The wheel's contents, the public names, the layers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import safellm

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_adapter_is_packed_and_registered() -> None:
    """Folders, the list of packages and the entry points agree; our names can't be claimed by another distribution."""
    folders = {path.name for path in (ROOT / "adapters").iterdir() if (path / "__init__.py").exists()}
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages == {"safellm", *(f"adapters/{name}" for name in folders)}
    registered = PROJECT["project"]["entry-points"]["safellm.adapters"]
    assert {value.partition(":")[0] for value in registered.values()} == folders
    for entry in entry_points(group="safellm.adapters"):
        assert entry.load().name == entry.name


def test_the_source_distribution_can_be_checked_by_who_gets_it() -> None:
    """What README, pages and tests lead to is in it: the suite, the sessions, how to report a weakness."""
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in ("tests", "docs", "examples", "noxfile.py", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert f"/{name}" in included
        assert (ROOT / name).exists()


def test_public_names_are_real() -> None:
    """`__all__` names what can be imported, and nothing else is public."""
    for name in safellm.__all__:
        assert getattr(safellm, name) is not None


def test_typing_marker_is_there() -> None:
    """Type checkers read our annotations (PEP 561)."""
    assert (ROOT / "safellm" / "py.typed").exists()
    assert all(
        (path / "py.typed").exists() for path in (ROOT / "adapters").iterdir() if path.is_dir() and path.name[0] != "_"
    )


def test_importing_touches_nothing() -> None:
    """`import safellm` loads no SDK, no key store, no database, no logging library and reads no variable of ours."""
    code = "import sys, safellm; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "openai",
        "httpx",
        "httpx2",
        "keyring",
        "cryptography",
        "tiktoken",
        "structlog",
        "sqlite3",
        "re2",
        "rich",
        "typer",
        "pydantic",
    }
    assert not heavy & set(loaded)
