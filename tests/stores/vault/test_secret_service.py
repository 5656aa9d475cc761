"""The vault on a real Secret Service (gnome-keyring) and a private D-Bus: unlocked, locked, absent (THREATS K.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("secret_service_session.py")
NEEDED = ("dbus-run-session", "gnome-keyring-daemon")
MISSING = [program for program in NEEDED if shutil.which(program) is None]

pytestmark = [
    pytest.mark.keyring,
    pytest.mark.skipif(
        sys.platform != "linux" or bool(MISSING),
        reason=f"NOT TESTED with a real key store, {', '.join(MISSING)} missing: sudo apt-get install gnome-keyring dbus",
    ),
]

# A bus that starts no services by itself, so that a store which isn't running is really absent.
BARE_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy>
</busconfig>
"""
UNLOCK = "printf 'test passphrase' | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1 && "


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder of its own; short, as socket paths have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sv", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def variables(home: Path) -> dict[str, str]:
    """Return an environment without any trace of the developer's own session."""
    runtime = home / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_DATA_HOME": str(home / "data"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(home: Path, scenario: str, *, unlock: bool, bare: bool = False, extra: dict[str, str] | None = None) -> dict:
    """Run a scenario in a session bus that lives as long as it does, and return what it printed."""
    command = ["dbus-run-session"]
    if bare:
        config = home / "bus.conf"
        config.write_text(BARE_BUS)
        command.append(f"--config-file={config}")
    script = f"{UNLOCK if unlock else ''}exec {sys.executable} {SCRIPT} {scenario}"
    command += ["--", "bash", "-c", script]
    return outcome(command, variables(home) | (extra or {}))


def outcome(command: list[str], environment: dict[str, str]) -> dict:
    """Run a command to its end and return the JSON of its last line; it gets no terminal and no input."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# Each of these is a choice that must have no effect; `badring` is put on the module path by the test.
TRICKS = {
    "PYTHON_KEYRING_BACKEND": "badring.PlaintextKeyring",
    "KEYRING_PROPERTY_PREFERRED_COLLECTION": "/org/freedesktop/secrets/collection/session",
    "KEYRING_PROPERTY_GET_PASSWORD": "x",
    "KEYRING_PROPERTY_SCHEME": "KeePassXC",
    "KEYRING_PROPERTY_PRIORITY": "0",
}


def test_k_2_unlocked_store_keeps_the_contract(home: Path) -> None:
    """The whole contract holds on the real store, whose files never show a key."""
    result = run(home, "contract", unlock=True)
    assert result["failures"] == {}
    assert result["ran"] >= 9
    assert result["label"] == "Secret Service (org.freedesktop.secrets)"
    assert result["store_files"] >= 1
    assert result["files_with_the_secret"] == []


def test_k_1_environment_changes_nothing_on_a_real_store(home: Path) -> None:
    """With every variable that keyring listens to set against us, keys still land in the default collection."""
    folder = home / "modules"
    folder.mkdir()
    (folder / "badring.py").write_text(BADRING)
    result = run(home, "contract", unlock=True, extra={**TRICKS, "PYTHONPATH": str(folder), "BADRING": str(home / "x")})
    assert result["failures"] == {}
    assert result["label"] == "Secret Service (org.freedesktop.secrets)"
    assert result["store_files"] >= 1  # the session collection would leave no file
    assert not (home / "x").exists()


BADRING = """
import os
from pathlib import Path
from keyring.backend import KeyringBackend

Path(os.environ["BADRING"]).write_text("loaded")

class PlaintextKeyring(KeyringBackend):
    priority = 99
    def get_password(self, service, username): return None
    def set_password(self, service, username, password): Path(os.environ["BADRING"]).write_text(password)
"""


def test_k_2_store_locked_later_is_an_error_in_time(home: Path) -> None:
    """A collection that gets locked while the program runs: an error with the remedy, no prompt, no hang."""
    result = run(home, "locked", unlock=True)
    assert result["was_locked"]
    assert_unavailable(result["get"], "locked")


def test_k_2_store_never_unlocked_is_an_error_in_time(home: Path) -> None:
    """A store that D-Bus starts by itself has no unlocked collection: nothing is stored, nothing asks."""
    result = run(home, "unusable", unlock=False)
    assert_unavailable(result["get"], "key store")
    assert not list(home.rglob("*.keyring"))


def test_k_2_absent_store_is_an_error_in_time(home: Path) -> None:
    """A bus without a Secret Service."""
    result = run(home, "unusable", unlock=False, bare=True)
    assert_unavailable(result["get"], "no key store here")


@pytest.mark.parametrize("address", [None, "unix:path=/nonexistent/bus", "nonsense", ""])
def test_k_2_no_bus_is_an_error_in_time(home: Path, address: str | None) -> None:
    """No D-Bus at all, or an address that leads nowhere."""
    environment = variables(home) | ({} if address is None else {"DBUS_SESSION_BUS_ADDRESS": address})
    result = outcome([sys.executable, str(SCRIPT), "unusable"], environment)
    assert_unavailable(result["get"], "no key store here")


@pytest.mark.parametrize("greets", [False, True])
def test_k_2_bus_that_never_answers_is_an_error_in_time(home: Path, greets: bool) -> None:
    """A bus that takes the connection, or even the login, and then stays silent; the process can still end."""
    path = home / "bus"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(8)
        if greets:
            threading.Thread(target=_greet, args=(server,), daemon=True).start()
        environment = variables(home) | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={path}"}
        result = outcome([sys.executable, str(SCRIPT), "unusable"], environment)
    # Without the login, the D-Bus library gives up by itself; after it, it would wait for ever.
    assert_unavailable(result["get"], "did not answer within 2 s" if greets else "no key store here")


def _greet(server: socket.socket) -> None:
    """Log one client in (D-Bus specification, "Authentication Protocol"), then read and say nothing."""
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(4096):
            if b"AUTH" in data:
                connection.sendall(b"OK 00112233445566778899aabbccddeeff\r\n")
            if b"NEGOTIATE_UNIX_FD" in data:
                connection.sendall(b"AGREE_UNIX_FD\r\n")


def assert_unavailable(got: dict, words: str) -> None:
    """Check for the right error, within the limit (plus what a loaded machine adds), with commands in the remedy."""
    assert got["error"] is not None
    assert words in got["error"]
    assert "gnome-keyring" in got["remedy"]
    assert got["seconds"] < 2.9
