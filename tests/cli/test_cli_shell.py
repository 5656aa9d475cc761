"""The command line as a whole: help, version, colours, pipes, interrupts, start-up."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

MAIN = [sys.executable, "-c", "from safellm.cli import main; main()"]
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
