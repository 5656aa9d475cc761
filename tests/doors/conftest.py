"""A program without any change, the guard installed around it, and a host of OpenAI's name on this machine."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import safellm
from safellm.auto import gate
from safellm.stores.journal.files import find, verify_directory
from safellm.testing.faults import FaultServer
from safellm.testing.provider import LoopbackProvider


@pytest.fixture(autouse=True)
def _clean(nothing_left: None, home: Path) -> Iterator[None]:
    """Every test has a folder of its own, and leaves no patch behind."""
    yield
    safellm.uninstall()


@pytest.fixture
def installed(_clean: None) -> None:
    """Guard this process."""
    safellm.install()


@pytest.fixture
def records(home: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return all records of the trail, oldest first, after the trail was verified."""

    def read() -> list[dict[str, Any]]:
        if not (home / "audit").exists():
            return []
        found = verify_directory(home / "audit")
        assert found.ok, found.explain()
        return [json.loads(line) for file in find(home / "audit") for line in file.path.read_bytes().splitlines()]

    return read


@pytest.fixture
def learn() -> Callable[[str], None]:
    """Make an address known to be a language model's, as after a call of an SDK."""
    from safellm._core.origin import parse_origin
    from safellm.auto.targets import dialect_named

    def remember(origin: str) -> None:
        gate.STATE.learnt[parse_origin(origin)] = dialect_named("openai")

    return remember


@pytest.fixture
def model_at(provider: LoopbackProvider, learn: Callable[[str], None]) -> LoopbackProvider:
    """A provider whose address is known to be a language model's."""
    learn(provider.origin)
    return provider


@pytest.fixture
def faults_at(faults: FaultServer, learn: Callable[[str], None]) -> FaultServer:
    """A faulty server whose address is known to be a language model's."""
    learn(faults.origin)
    return faults


@pytest.fixture
def stored_key(provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the vault that is bound to the provider: who installs the guard gets a placeholder for it."""
    from safellm._core.origin import parse_origin
    from safellm._core.secret import Secret
    from safellm.stores.vault import open as opener
    from safellm.stores.vault.interface import StoredKey

    key = "sk-" + "A1b2C3d4E5" * 4

    class Memory:
        label = "memory"

        def get(self, name: str) -> StoredKey:
            origins = (parse_origin(provider.origin),)
            return StoredKey(name=name, provider="openai", origins=origins, created_ns=1, secret=Secret(key))

    home.mkdir(parents=True, exist_ok=True)
    (home / "vault-names.json").write_text('{"names": ["openai"]}', "utf-8")
    monkeypatch.setenv("SAFELLM_KEYS_VAULT", "true")
    monkeypatch.setattr(opener, "open_vault", lambda *_, **__: Memory())
    return key


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `safellm …` in a process of its own."""

    def start(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "safellm.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)

    return start


class Front:
    """Takes TLS connections for a host name and hands their bytes on to a server; names lead here while it is open."""

    def __init__(self, name: str, server: LoopbackProvider, folder: Path) -> None:
        self.connections = 0
        self._port = server.port
        self.certificate = folder / "front.pem"
        self.serve(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def serve(self, name: str) -> None:
        """Stand for another host from now on."""
        self.name = name
        self.certificate.write_bytes(_certificate(name))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate)
        self.trust = ssl.create_default_context(cafile=str(self.certificate))

    def close(self) -> None:
        _end(self._listener, self._open, self._threads)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                one = self._context.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            other = socket.create_connection(("127.0.0.1", self._port))
            self._open += [one, other]
            for source, to in ((one, other), (other, one)):
                thread = threading.Thread(target=_pump, args=(source, to))
                self._threads.append(thread)
                thread.start()


def _pump(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    for one in (source, to):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    source.close()


def _certificate(name: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = dt.datetime(2020, 1, 1)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(begin).not_valid_after(begin.replace(year=2120))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()) + made.public_bytes(
        serialization.Encoding.PEM
    )


@pytest.fixture
def front(provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """`https://api.openai.com`, on this machine: the provider stands behind it."""
    made = Front("api.openai.com", provider, tmp_path)
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real(*made.address, *rest, **named) if name == made.name else real(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield made
    made.close()


class Proxy:
    """Takes CONNECT for any host, and leads to one address."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.asked: list[bytes] = []
        self._to = to
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.asked.append(client.recv(65536))
            server = socket.create_connection(self._to)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._open += [client, server]
            for source, to in ((client, server), (server, client)):
                thread = threading.Thread(target=_pump, args=(source, to))
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        _end(self._listener, self._open, self._threads)


def _end(listener: socket.socket, connections: list[socket.socket], threads: list[threading.Thread]) -> None:
    """Close a server and its connections, and wait for its threads."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for one in connections:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


@pytest.fixture
def proxy(front: Front) -> Iterator[Proxy]:
    """A proxy of the environment, which leads to `front` whatever it is asked for."""
    made = Proxy(front.address)
    yield made
    made.close()
