"""`safellm keys` on a real key store (gnome-keyring on a private D-Bus), from the shell and on a terminal."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safellm.testing.canary import make_canary, sweep

MISSING = [program for program in ("dbus-run-session", "gnome-keyring-daemon") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or bool(MISSING),
    reason=f"NOT TESTED with a real key store, {', '.join(MISSING)} missing: sudo apt-get install gnome-keyring dbus",
)
UNLOCK = "printf 'test passphrase' | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1"
SAFELLM = f"{sys.executable} -c 'from safellm.cli import main; main()'"


@pytest.fixture
def session() -> Iterator[dict[str, str]]:
    """Variables of a session with a home of its own; short, as socket paths have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sc", ignore_cleanup_errors=True) as folder:
        runtime = Path(folder, "run")
        runtime.mkdir(mode=0o700)
        yield {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_DATA_HOME": f"{folder}/data",
            "COLUMNS": "100",
        }


def test_set_list_test_remove_from_the_shell(session: dict[str, str], provider: Any) -> None:
    """A key goes through its whole life by commands alone; no file of the home and no output ever holds it."""
    secret = make_canary()
    provider._api_key = secret
    script = f"""{UNLOCK}
        printenv THE_KEY | {SAFELLM} keys set mine --origin {provider.origin} --stdin && unset THE_KEY &&
        {SAFELLM} keys list && {SAFELLM} keys test mine && {SAFELLM} keys remove mine && {SAFELLM} keys list"""
    done = subprocess.run(
        ["dbus-run-session", "--", "bash", "-c", script],
        env=session | {"THE_KEY": secret}, capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Secret Service" in done.stdout
    assert "valid       mine" in done.stdout
    assert "No keys in" in done.stdout
    assert provider.requests[0].headers["authorization"] == f"Bearer {secret}"
    assert sweep(secret, paths=[session["HOME"]], texts=[done.stdout, done.stderr]) == []


def test_k_4_typed_key_is_not_echoed(session: dict[str, str]) -> None:
    """On a terminal the key is asked for unseen: what the terminal shows never holds it."""
    import pty
    import select
    import termios

    secret = make_canary()
    script = f"{UNLOCK}; exec {SAFELLM} keys set openai"
    master, slave = pty.openpty()
    child = subprocess.Popen(
        ["dbus-run-session", "--", "bash", "-c", script],
        stdin=slave, stdout=slave, stderr=slave, env=session | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    shown, typed, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        if not typed and b"not shown" in shown and not termios.tcgetattr(master)[3] & termios.ECHO:
            os.write(master, secret.encode() + b"\n")  # only now: what is typed before the echo is off is thrown away
            typed = True
        if not select.select([master], [], [], 0.05)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert child.wait(30) == 0, shown
    assert b"Stored 'openai'" in shown
    assert sweep(secret, paths=[session["HOME"]], texts=[shown]) == []
