"""A real second user of this machine at the broker's socket (THREATS K.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safellm.errors import ConfigurationError

MISSING = [program for program in ("setpriv", "curl") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid() != 0 or bool(MISSING),
    reason=f"NOT TESTED with a second user: run as root{''.join(f', with {one}' for one in MISSING)}",
)
NOBODY = 65_534
NO_CONNECTION = 7  # curl(1)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may pass, with a short name."""
    folder = Path(tempfile.mkdtemp(prefix="slm", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def broker_home(open_folder: Path) -> Path:
    """The broker's state is closed to others; only its socket stands in the open folder."""
    folder = open_folder / "b"
    folder.mkdir(mode=0o700)
    return folder


def ask_as_nobody(path: Path, grant: Any) -> tuple[int, int, str]:
    """Send a chat as another user; return curl's exit code, the status, and the answer."""
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "curl", "-s", "-m", "20"]
    command += ["--unix-socket", str(path), "http://broker/v1/chat/completions", "-w", "\n%{http_code}", "-d", body]
    command += ["-H", f"authorization: Bearer {grant.text()}", "-H", "content-type: application/json"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=40, check=False)
    text, _, status = done.stdout.rpartition("\n")
    return done.returncode, int(status or 0), text


def test_k_8_a_second_user_does_not_get_to_the_socket(start, broker_grant, provider, open_folder):
    """It is 0600: the system refuses the connection itself."""
    broker = start(socket_path=open_folder / "s")
    assert (open_folder / "s").stat().st_mode & 0o777 == 0o600
    code, _, _ = ask_as_nobody(broker.path, broker_grant())
    assert code == NO_CONNECTION
    assert provider.requests == []


def test_k_8_a_second_user_at_an_open_socket_is_denied_and_recorded(
    start, broker_grant, broker_records, provider, open_folder
):
    """Another one than the one who was let in: a grant that holds doesn't help, and the record names the user."""
    broker = start(socket_path=open_folder / "s", users=frozenset({NOBODY - 1}))
    code, status, text = ask_as_nobody(broker.path, broker_grant())
    assert (code, status) == (0, 403)
    assert "not for your user" in text
    (found,) = broker_records("policy.deny")
    assert (found["safellm.guard"], found["safellm.peer.uid"]) == ("broker", NOBODY)
    assert provider.requests == []


def test_k_8_a_second_user_is_let_in_by_number_and_by_grant(start, broker_grant, broker_records, provider, open_folder):
    """With `--user` he gets in, with a grant for him he is answered, with one for somebody else he is not."""
    broker = start(socket_path=open_folder / "s", users=frozenset({NOBODY}))
    assert ask_as_nobody(broker.path, broker_grant(uid=NOBODY))[:2] == (0, 200)
    assert ask_as_nobody(broker.path, broker_grant(uid=os.geteuid()))[:2] == (0, 403)
    assert len(provider.requests) == 1
    assert broker_records("policy.deny")[-1]["reason"] == "grant.denied"


def test_a_socket_that_nobody_else_can_get_to_is_an_error(start, broker_home):
    """Letting another user in needs a folder that he may pass: the error names the one that is closed."""
    with pytest.raises(ConfigurationError, match="is closed to them") as caught:
        start(socket_path=broker_home / "s", users=frozenset({NOBODY}))
    assert "--socket" in caught.value.remedy
    assert not (broker_home / "s").exists()
