"""The broker alone writes its trail: a program under another user can't open a file of it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from safellm._core.origin import parse_origin
from safellm._core.secret import Secret
from safellm.stores.content.keys import make_pair
from safellm.stores.grants import Grants
from safellm.stores.journal.files import verify_directory
from safellm.stores.vault.interface import StoredKey
from safellm.stores.vault.sealed_file import SealedFileVault
from safellm.testing.canary import make_canary
from safellm.testing.provider import LoopbackProvider

OTHER = 65534
# A program of another user, in the group of nobody: it makes a call through the broker, then tries everything on its files.
PROGRAM = """
import http.client, json, os, socket, sys
path, folder, grant, body = sys.argv[1:]
class Over(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
found = {"uid": os.getuid(), "opened": [], "names": []}
over = Over("x", timeout=30)
try:
    over.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer " + grant, "content-type": "application/json"})
    found["status"] = over.getresponse().status
except OSError as error:
    found["status"] = error.errno
for name in sys.stdin.read().splitlines():
    file = os.path.join(folder, name)
    ways = (("read", os.O_RDONLY), ("append", os.O_WRONLY | os.O_APPEND), ("cut", os.O_RDWR | os.O_TRUNC))
    for how, flags in ways:
        try:
            os.close(os.open(file, flags))
            found["opened"].append([how, name])
        except PermissionError:
            pass
    for how, act in (
        ("mode", lambda one: os.chmod(one, 0o666)),
        ("rename", lambda one: os.rename(one, one + "x")),
        ("remove", lambda one: os.unlink(one + "x")),
    ):
        try:
            act(file)
            found["opened"].append([how, name])
        except PermissionError:
            pass
new = os.path.join(folder, "trail-00000000-000001.jsonl")
for act in (lambda: os.close(os.open(new, os.O_WRONLY | os.O_CREAT)), lambda: os.listdir(folder)):
    try:
        act()
        found["opened"].append(["folder", ""])
    except PermissionError:
        pass
print(json.dumps(found))
"""


@pytest.fixture
def world() -> Iterator[Path]:
    """A folder that every user may enter, and that holds the broker's closed one."""
    folder = Path(tempfile.mkdtemp(prefix="slm", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="users of Linux")
def test_l_4_another_user_can_not_open_the_trail_of_the_broker(world, home):
    """Its calls are in the trail; none of the files can be read, written, cut, renamed or removed, and none added."""
    state = world / "broker"
    state.mkdir(mode=0o700)
    passphrase = state / "passphrase"
    passphrase.write_text("a passphrase of the test")
    passphrase.chmod(0o400)
    key, public = make_canary(), make_pair(world / "content.key")
    with LoopbackProvider(api_key=key) as provider:
        SealedFileVault(state, lambda _: Secret("a passphrase of the test")).set(
            StoredKey(name="openai", provider="openai", origins=(parse_origin(provider.origin),), created_ns=1,
                      secret=Secret(key))
        )  # fmt: skip
        now = int(time.time())
        caveats = {"key": "openai", "operation": ["chat"], "model": ["*"], "expires": now + 600}
        grant = Grants(state).issue(caveats, note="", now_s=now)
        environ = {
            "PATH": os.environ["PATH"], "HOME": str(state), "SAFELLM_HOME": str(state), "SAFELLM_KEYS_STORE": "file",
            "SAFELLM_PASSPHRASE_FILE": str(passphrase), "PYTHONPATH": str(Path(__file__).parents[2]),
            "SAFELLM_AUDIT_CONTENT": "redacted", "SAFELLM_AUDIT_CONTENT_KEY": public,
            "SAFELLM_ALERTS": '[{name = "m", new = "model"}]',
        }  # fmt: skip
        socket_path = world / "s"
        command = [sys.executable, "-m", "safellm", "broker", "run", "--socket", str(socket_path)]
        broker = subprocess.Popen(command, env=environ, cwd="/", stderr=subprocess.PIPE, text=True)
        try:
            assert broker.stderr is not None
            while "ready" not in (line := broker.stderr.readline()):
                assert broker.poll() is None, line
            body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
            found = as_another(socket_path, state / "audit", grant.text(), body, names=[])
            made = found["status"] == 200
            if not made:  # the socket is the broker's user's as well: the record comes from a call of that user
                done = subprocess.run(
                    [sys.executable, "-c", PROGRAM, str(socket_path), str(home.parent), grant.text(), body],
                    input="", env={}, capture_output=True, text=True, check=True, timeout=60,
                )  # fmt: skip
                assert json.loads(done.stdout)["status"] == 200
            files = sorted(path.name for path in (state / "audit").iterdir())
            open_to_others = [name for name in files if (state / "audit" / name).stat().st_mode & 0o077]
            found = as_another(socket_path, state / "audit", grant.text(), body, names=files)
        finally:
            broker.terminate()
            broker.wait(20)
            broker.stderr.close()
    assert any(name.startswith("trail-") for name in files)
    assert "content.sqlite3" in files
    assert open_to_others == []
    assert verify_directory(state / "audit").ok
    if os.geteuid() == 0:
        assert found["uid"] == OTHER
        assert found["opened"] == []
    # The control: whoever is the broker's user can do all of it.
    trail = [name for name in files if name.startswith("trail-")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(socket_path), str(state / "audit"), "", ""], input="\n".join(trail), env={},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert len(json.loads(done.stdout)["opened"]) == 6 * len(trail) + 2


def as_another(socket_path: Path, folder: Path, grant: str, body: str, *, names: list[str]) -> dict[str, object]:
    """Run the program as another user, where this one may; else as this one, against a folder that isn't there."""
    root = os.geteuid() == 0
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable  # one that every user may run
    done = subprocess.run(
        [python if root else sys.executable, "-I", "-c", PROGRAM, str(socket_path),
         str(folder if root else folder / "none"), grant, body],
        input="\n".join(names if root else []), env={}, capture_output=True, text=True, check=False, timeout=60,
        **({"user": OTHER, "group": OTHER, "extra_groups": []} if root else {}),
    )  # fmt: skip
    assert done.returncode == 0 or not root, done.stderr
    return json.loads(done.stdout) if done.returncode == 0 else {"status": 0, "uid": os.geteuid(), "opened": []}
