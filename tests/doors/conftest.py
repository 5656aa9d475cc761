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
def model_at(provider: LoopbackProvider) -> LoopbackProvider:
    """A provider whose address is known to be a language model's, as after a call of an SDK."""
    from safellm._core.origin import parse_origin
    from safellm.auto.targets import dialect_named

    gate.STATE.learnt[parse_origin(provider.origin)] = dialect_named("openai")
    return provider


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
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

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
