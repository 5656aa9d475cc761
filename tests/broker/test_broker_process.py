"""The broker as a process of its own: nobody of the same user reads the key out of it (THREATS K.6; promise P2)."""

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
from typing import Any

import pytest

from safellm._core.origin import parse_origin
from safellm._core.secret import Secret
from safellm.stores.grants import Grants
from safellm.stores.vault.interface import StoredKey
from safellm.stores.vault.sealed_file import SealedFileVault
from safellm.testing.canary import make_canary
from safellm.testing.provider import LoopbackProvider

# What root may do beyond every user is taken away, or the test would prove nothing where it runs as root.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
PLAIN = """
import asyncio, os, sys
from pathlib import Path
from safellm.broker.serve import Options, serve
ready = lambda addresses: print("ready", file=sys.stderr, flush=True)
asyncio.run(serve(Options(path=Path(sys.argv[1])), dict(os.environ), ready=ready, hardened=[]))
"""
# Runs as the broker's own user and as its parent, who may look at it where the system lets anybody.
THIEF = """
import http.client, json, socket, subprocess, sys
mode, path, grant, body, plain = sys.argv[1:]
key = sys.stdin.readline().strip().encode()
command = [sys.executable, "-c", plain, path]
if mode == "hardened":
    command = [sys.executable, "-m", "safellm", "broker", "run", "--socket", path]
broker = subprocess.Popen(command, stderr=subprocess.PIPE)
found = {}
try:
    while b"ready" not in broker.stderr.readline():
        assert broker.poll() is None
    class Over(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(path)
    over = Over("x", timeout=30)
    over.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer " + grant, "content-type": "application/json"})
    found["status"] = over.getresponse().status
    proc = f"/proc/{broker.pid}/"
    for name in ("environ", "cmdline", "mem", "maps"):
        try:
            if name != "mem":
                found[name] = key in open(proc + name, "rb").read()
                continue
            found[name] = False
            with open(proc + "mem", "rb", 0) as memory:
                for line in open(proc + "maps"):
                    span, rights = line.split()[:2]
                    if "r" not in rights or "[v" in line:
                        continue
                    start, end = (int(one, 16) for one in span.split("-"))
                    try:
                        memory.seek(start)
                        found[name] |= key in memory.read(end - start)
                    except (OSError, ValueError, OverflowError):
                        pass
        except PermissionError:
            found[name] = "denied"
finally:
    broker.terminate()
    found["ended"] = broker.wait(20)
    broker.stderr.close()
print(json.dumps(found))
"""


@pytest.fixture
def world() -> Iterator[Path]:
    """A short folder that an unprivileged user may own."""
    folder = Path(tempfile.mkdtemp(prefix="slm", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def steal(mode: str, world: Path, provider: LoopbackProvider, key: str) -> dict[str, Any]:
    passphrase = world / "passphrase"
    passphrase.write_text("a passphrase of the test")
    passphrase.chmod(0o400)
    SealedFileVault(world, lambda _: Secret("a passphrase of the test")).set(
        StoredKey(
            name="openai", provider="openai", origins=(parse_origin(provider.origin),), created_ns=1, secret=Secret(key)
        )
    )
    now = int(time.time())
    grant = Grants(world).issue(
        {"key": "openai", "operation": ["chat"], "model": ["*"], "expires": now + 600}, note="", now_s=now
    )
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(world),
        "SAFELLM_HOME": str(world),
        "SAFELLM_KEYS_STORE": "file",
        "SAFELLM_PASSPHRASE_FILE": str(passphrase),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
    command = [*UNPRIVILEGED, sys.executable, "-c", THIEF, mode, str(world / "s"), grant.text(), body, PLAIN]
    done = subprocess.run(
        command, input=key + "\n", env=environ, cwd="/", capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="what /proc shows")
def test_k_6_the_key_can_not_be_read_out_of_the_broker(world, home):
    """Memory and environment are closed to the same user; without the protection the key is found."""
    key = make_canary()
    with LoopbackProvider(api_key=key) as provider:
        hardened = steal("hardened", world, provider, key)
        for one in world.iterdir():
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        plain = steal("plain", world, provider, key)
    assert hardened == {
        "status": 200,
        "environ": "denied",
        "cmdline": False,
        "mem": "denied",
        "maps": "denied",
        "ended": 0,
    }
    assert plain["status"] == 200
    assert plain["mem"] is True, "the control finds it"
