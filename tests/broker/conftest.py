"""A home with a stored key, grants for it, and a provider that takes that key only."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from safellm._core.grant import Grant
from safellm.stores.grants import Grants
from safellm.stores.journal.files import find, verify_directory
from safellm.testing.provider import LoopbackProvider

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every test has a folder of its own and leaves nothing behind."""


@pytest.fixture
def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackProvider]:
    """A provider that takes the stored key only; the key is a secret file, as in a container."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    for name in ("openai", "anthropic", "google"):
        file = folder / name
        file.write_text(KEY)
        file.chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with LoopbackProvider(api_key=KEY) as server:
        yield server


@pytest.fixture
def grants(home: Path) -> Grants:
    """The grants of this home."""
    return Grants(home)


@pytest.fixture
def grant(grants: Grants) -> Callable[..., Grant]:
    """Issue a grant; caveats that are given replace the wide ones."""

    def issue(**caveats: Any) -> Grant:
        now = int(time.time())
        wide: dict[str, Any] = {"key": "openai", "operation": ["*"], "model": ["*"], "expires": now + 3600}
        return grants.issue({**wide, **caveats}, note="test", now_s=now)

    return issue


@pytest.fixture
def records(home: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return the records of one event, oldest first, after the trail was verified."""

    def read(event: str = "") -> list[dict[str, Any]]:
        found = verify_directory(home / "audit")
        assert found.ok, found.explain()
        lines = [json.loads(line) for file in find(home / "audit") for line in file.path.read_bytes().splitlines()]
        return [one for one in lines if not event or one["event.name"] == event]

    return read


class RunningBroker:
    """A broker in a thread of this process, with a home of its own."""

    def __init__(self, environ: dict[str, str], path: Path, **options: Any) -> None:
        from safellm.broker.serve import Options

        self.path, self.addresses, self.home = path, [], Path(environ["SAFELLM_HOME"])
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._options = Options(path=path, **options)
        self._thread = threading.Thread(target=self._run, args=(environ,), name="broker")
        self._thread.start()
        assert self._ready.wait(20)
        if self._problem is not None:
            raise self._problem

    def _run(self, environ: dict[str, str]) -> None:
        from safellm.broker.serve import serve

        def ready(addresses: list[str]) -> None:
            self.addresses = addresses
            self._ready.set()

        try:
            asyncio.run(serve(self._options, environ, ready=ready, hardened=[]))
        except BaseException as error:
            self._problem = error
            self._ready.set()

    def ask(self, target: str, *, headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
        """Send one request over the socket, as any program could."""
        import httpx

        # The first call of a process makes the scanner: on a loaded machine that takes longer than the library waits.
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.path)), timeout=60) as http:
            return http.request("GET" if body is None else "POST", f"http://x{target}", headers=headers, content=body)

    def stop(self) -> None:
        if self._thread.is_alive():
            with suppress(Exception):
                self.ask("/safellm/stop")
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def broker_home(tmp_path: Path) -> Path:
    folder = tmp_path / "b"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def broker_environ(broker_home: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The broker's world: an encrypted file with a key that is bound to the provider on this machine."""
    from safellm._core.origin import parse_origin
    from safellm._core.secret import Secret
    from safellm.stores.vault import sealed_file
    from safellm.stores.vault.interface import StoredKey

    cheap = sealed_file.Cost(memory_kib=64, passes=1, lanes=1)
    monkeypatch.setattr(sealed_file.SealedFileVault.__init__, "__kwdefaults__", {"cost": cheap, "floor": cheap})
    passphrase = broker_home / "passphrase"
    passphrase.write_text("a passphrase of the test")
    passphrase.chmod(0o400)
    vault = sealed_file.SealedFileVault(broker_home, lambda _: Secret("a passphrase of the test"))
    for name in ("openai", "anthropic", "google"):
        key = StoredKey(
            name=name, provider=name, origins=(parse_origin(provider.origin),), created_ns=1, secret=Secret(KEY)
        )
        vault.set(key)
    provider._api_key = KEY
    return {
        "SAFELLM_HOME": str(broker_home),
        "SAFELLM_KEYS_STORE": "file",
        "SAFELLM_PASSPHRASE_FILE": str(passphrase),
        "HOME": str(broker_home),
    }


@pytest.fixture
def start(broker_environ: dict[str, str], broker_home: Path) -> Iterator[Callable[..., RunningBroker]]:
    """Start a broker; it ends with the test."""
    made: list[RunningBroker] = []

    def run(*, socket_path: Path | None = None, **options: Any) -> RunningBroker:
        made.append(RunningBroker(broker_environ, socket_path or broker_home / "s", **options))
        return made[-1]

    yield run
    for one in made:
        one.stop()


@pytest.fixture
def broker(start: Callable[..., RunningBroker], monkeypatch: pytest.MonkeyPatch) -> RunningBroker:
    """A broker that programs of this test find by their environment."""
    running = start()
    monkeypatch.setenv("SAFELLM_BROKER", running.addresses[0])
    return running


@pytest.fixture
def broker_grant(broker_home: Path) -> Callable[..., Grant]:
    """Issue a grant of the broker."""
    source = Grants(broker_home)

    def issue(**caveats: Any) -> Grant:
        now = int(time.time())
        wide: dict[str, Any] = {"key": "openai", "operation": ["*"], "model": ["*"], "expires": now + 3600}
        return source.issue({**wide, **caveats}, note="test", now_s=now)

    return issue


@pytest.fixture
def broker_records(broker_home: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return what the broker recorded."""

    def read(event: str = "") -> list[dict[str, Any]]:
        found = verify_directory(broker_home / "audit")
        assert found.ok, found.explain()
        files = find(broker_home / "audit")
        lines = [json.loads(line) for file in files for line in file.path.read_bytes().splitlines()]
        return [one for one in lines if not event or one["event.name"] == event]

    return read
