"""What the documentation says is what the code does: every snippet runs, every table is the code's own."""

from __future__ import annotations

import gc
import importlib.util
import re
import shlex
import warnings
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safellm._core import events_described
from safellm._core.guards.described import GUARDS, REASONS
from safellm.cli.app import app
from safellm.errors import Reason
from safellm.stores.settings import check_file
from safellm.stores.tools import TOOLBOX
from safellm.testing.provider import LoopbackProvider

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[object]:
    """Return the code blocks of all pages in one language, each as a test case."""
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (kind, text) in enumerate(BLOCK.findall(page.read_text("utf-8")))
        if kind == language
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snippet runs as it stands; where it needs a provider, it gets one on this machine."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT / "examples")  # programs to look at, and few of them
    gc.freeze()  # only what the snippet makes is collected below
    with LoopbackProvider(api_key="documentation-key") as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "documentation-key")
        names: dict[str, object] = {"__name__": "snippet"}
        with warnings.catch_warnings():
            # A snippet leaves its clients to the interpreter, as scripts do; they must not end inside another test.
            warnings.simplefilter("ignore", ResourceWarning)
            exec(compile(code, "snippet", "exec"), names)
            names.clear()
            gc.collect()
    TOOLBOX.reset()  # rules and pins hold for the whole process


@pytest.mark.parametrize("text", blocks("toml"))
def test_policy_snippets_are_valid(text: str, tmp_path: Path) -> None:
    """A policy in the documentation has no problem."""
    path = tmp_path / "policy.toml"
    path.write_text(text, "utf-8")
    assert check_file(path) == []


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_exist(text: str) -> None:
    """Every `safellm …` line names a command that is there."""
    for line in text.splitlines():
        words = shlex.split(line.split("#")[0])
        if words[:1] == ["safellm"]:
            assert _is_command(*(word for word in words[1:3] if word.isalpha() and word != "openai")), line


@cache
def _is_command(*names: str) -> bool:
    return CliRunner().invoke(app, [*names, "--help"]).exit_code == 0


def test_the_guard_page_is_the_code_s_own() -> None:
    """Pages, schema and manual page are what the code renders; `python docs/generate.py` writes them."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in module.PAGES:
        page = (ROOT / "docs" / name).read_text("utf-8")
        assert module.updated(page, name) == page, name
    assert module.SCHEMA.read_text("utf-8") == events_described.schema_text()
    assert module.MANUAL.read_text("utf-8") == module.manual.render()


def test_every_reason_is_explained() -> None:
    """The list of reason codes is closed and documented."""
    assert set(REASONS) == set(Reason)
    assert all(code == code.lower() and "." in code for code in Reason)


def test_every_request_guard_is_described() -> None:
    """A guard that runs has a row."""
    from safellm._core.guards.order import REQUEST

    assert {stage.name for stage in REQUEST} <= {guard.name for guard in GUARDS}


def test_no_dead_links() -> None:
    """Relative links lead to files that are there."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
