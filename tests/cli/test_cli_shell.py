"""The command line as a whole: help, version, colours, pipes, interrupts, start-up."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from safellm import OpenAI
from safellm.cli.show import dollars

MAIN = [sys.executable, "-c", "from safellm.cli import main; main()"]
pytestmark = pytest.mark.usefixtures("started_before")
pty_only = pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")


def in_terminal(arguments: list[str], *, typed: bytes = b"", **variables: str) -> tuple[int, bytes]:
    """Run a command on a pseudo-terminal; return its exit code and all that it printed there."""
    import pty
    import select

    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [*MAIN, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=_own_terminal,
    )  # fmt: skip
    os.close(slave)
    out, deadline, asked = b"", time.monotonic() + 60, False
    waiting = select.poll()  # `select.select` ends at descriptor 1,023
    waiting.register(master, select.POLLIN)
    while time.monotonic() < deadline:
        if not waiting.poll(1000):
            if typed == _INTERRUPT and asked:
                os.write(master, typed)  # what is typed while the terminal changes its mode is thrown away: typed again
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        out += piece
        if typed and not asked and (b"?" in out or b"not shown" in out):
            os.write(master, typed)
            asked = True
    try:
        code = child.wait(30)  # before the terminal is closed: that would hang up on a child that is still ending
    finally:
        child.kill()
        child.wait()
        os.close(master)
    return code, out


_INTERRUPT = b"\x03"  # Ctrl-C


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_version_names_everything(safellm: Any) -> None:
    """One line with safellm, the SDK and Python."""
    result = safellm("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("safellm ")
    assert "openai" in result.stdout


def test_help_lists_every_command_in_groups(safellm: Any) -> None:
    """The overview has the four groups in order, with all commands."""
    text = safellm("--help").stdout
    places = [text.index(name) for name in ("Start here", "Keys", "Policy and money", "Audit trail")]
    assert places == sorted(places)
    for command in ("demo", "doctor", "keys", "policy", "budget", "usage", "audit"):
        assert f" {command} " in text


@pytest.mark.parametrize("command", [["ask"], ["keys", "bind"], ["scan"], ["audit", "query"], ["grant", "new"]])
def test_help_says_in_words_what_an_option_takes(safellm: Any, command: list[str]) -> None:
    """No types of Python; a switch takes nothing."""
    text = safellm(*command, "--help").stdout
    assert not re.search(r"<[a-z]", text)
    for line in text.splitlines():
        if any(switch in line for switch in ("--json", "--help", "--no-tools", "--only")):
            assert re.search(r"--(json|help|no-tools|only)\s+(-h\s+)?[A-Z][a-z]", line), line


@pytest.mark.parametrize("columns", ["60", "80", "110"])
def test_words_and_ids_stay_whole_on_narrow_terminals(
    safellm: Any, home: Path, provider: Any, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """What is read or copied stands in one line: ids, events, models, money."""
    client = OpenAI(base_url=provider.base_url, api_key="given-in-code")
    client.responses.create(model="gpt-4o-mini", input="hi jane@example.com")
    safellm(
        "grant", "new", "--operation", "chat", "--model", "gpt-5*", "--budget", "5usd", "--note", "for the nightly job"
    )
    (grant,) = json.loads(safellm("grant", "list", "--json").stdout)
    cost = json.loads(safellm("usage", "--json").stdout)["micro_usd"]
    monkeypatch.setenv("COLUMNS", columns)
    listed, tail, query, used = (
        safellm(*words).stdout for words in (("grant", "list"), ("audit", "tail"), ("audit", "query"), ("usage",))
    )
    assert grant["id"] in listed
    assert "nightly" in listed
    for text in (tail, query):
        for part in ("call.outcome", "gpt-4o-mini", "restored", "EMAIL", "modify"):
            assert part in text
    assert "gpt-4o-mini" in used
    assert dollars(cost) in used
    assert all(len(line) <= int(columns) for text in (listed, tail, query, used) for line in text.splitlines())


def test_discover_names_places_as_they_open_from_here(
    safellm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever folder or file was asked for, a place is relative to the working directory."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text("import openai\n\nopenai.OpenAI()\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    place = str(Path("src", "app.py")) + ":3"
    for asked in ([], ["src"], [str(Path("src", "app.py"))]):
        assert f" {place} " in safellm("discover", *asked).stdout


@pytest.mark.parametrize(
    "command", [["nonsense"], ["demo", "--nonsense"], ["keys", "set"], ["audit", "tail", "-n", "0"]]
)
def test_wrong_use_exits_2(safellm: Any, command: list[str]) -> None:
    """What typer refuses has the same exit code as our own configuration errors."""
    assert safellm(*command).exit_code == 2


@pty_only
@pytest.mark.parametrize("command", [["demo"], ["doctor"], ["policy", "show"], ["--help"], ["audit", "verify"]])
def test_no_color_gives_no_escape_codes(home: Path, command: list[str]) -> None:
    """On a terminal with NO_COLOR there is not one escape byte; without it there are."""
    _, plain = in_terminal(command, NO_COLOR="1")
    assert plain
    assert b"\x1b" not in plain
    _, coloured = in_terminal(command)
    assert b"\x1b[" in coloured


@pty_only
def test_demo_no_color_option(home: Path) -> None:
    """`--no-color` does the same for the demo."""
    code, plain = in_terminal(["demo", "--no-color"])
    assert code == 0
    assert b"\x1b" not in plain


@pty_only
def test_interrupt_is_clean(home: Path) -> None:
    """Ctrl-C at a question ends with a non-zero code and no traceback; nothing was done."""
    code, out = in_terminal(["budget", "rearm"], typed=b"\x03")
    assert code in (1, 130)
    assert b"Traceback" not in out
    assert not (home / "audit").exists()


def test_pipe_gets_no_escape_codes(home: Path) -> None:
    """Into a pipe there are no escape codes, whatever the terminal can do."""
    done = subprocess.run(
        [*MAIN, "demo"], capture_output=True, check=False, env={**os.environ, "TERM": "xterm-256color"}
    )
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout


def test_old_encoding_is_no_crash(home: Path) -> None:
    """A pipe in ASCII gets escapes instead of an exception."""
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*MAIN, "demo"], capture_output=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with pipes")
def test_closed_pipe_is_no_traceback(home: Path) -> None:
    """`safellm … | head -1` is quiet."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{sys.executable}' -c 'from safellm.cli import main; main()' policy show | head -1"],
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr


def test_importing_the_command_line_loads_no_sdk() -> None:
    """`safellm --help` needs neither the SDK nor the key store nor the price list."""
    code = (
        "import sys, safellm.cli.app; "
        "print([name for name in ('openai', 'keyring', 'genai_prices', 'structlog', 'sqlite3', 're2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_importing_safellm_loads_no_command_line() -> None:
    """typer and rich stay in the command line."""
    code = "import sys, safellm; safellm.OpenAI; print([name for name in ('typer', 'rich') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
