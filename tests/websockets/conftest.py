"""The real SDKs over real websockets on this machine, sync and async behind one face."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faces import BaseFace, showing

pytest.importorskip("websockets", reason="the SDKs connect to websockets with it")

import safellm
from safellm.testing.websocket import LoopbackSockets


@pytest.fixture(autouse=True)
def _clean(home: Path, nothing_left: None) -> None:
    """Every test has a folder of its own and leaves nothing behind."""


class Face(BaseFace):
    """Guarded clients of OpenAI's SDK and their connections."""

    def client(self, server: Any = None, **options: Any) -> Any:
        """Return a guarded client; closed when the test ends."""
        if server is not None:
            options = {"base_url": server.base_url, "api_key": "given-in-code", **options}
        return self.keep((safellm.AsyncOpenAI if self.is_async else safellm.OpenAI)(**options))

    def close(self, thing: Any) -> None:
        self.run(thing.close())

    def open(self, manager: Any) -> Any:
        """Open a connection; closed when the test ends, if it is still open."""
        return self.keep(self.run(manager.__aenter__() if self.is_async else manager.__enter__()))

    def responses(self, server: Any, **options: Any) -> Any:
        """Return a Responses connection."""
        return self.open(self.client(server, **options).responses.connect())

    def realtime(self, server: Any, **options: Any) -> Any:
        """Return a Realtime connection whose answers are texts."""
        connection = self.open(self.client(server, **options).realtime.connect(model="gpt-realtime"))
        self.until(connection, "session.created")
        self.run(connection.session.update(session={"type": "realtime", "output_modalities": ["text"]}))
        self.until(connection, "session.updated")
        return connection

    def until(self, connection: Any, kind: str) -> list[Any]:
        """Return the next events, up to the first of a kind."""
        found = []
        while not found or found[-1].type != kind:
            found.append(self.run(connection.recv()))
        return found

    def ask(self, connection: Any, text: str, **options: Any) -> list[Any]:
        """Have a Responses connection answer; return the answer's events."""
        self.run(connection.response.create(model="gpt-4o", input=text, **options))
        return self.until(connection, "response.completed")

    def say(self, connection: Any, text: str) -> None:
        """Put a user's text into a Realtime conversation."""
        part = {"type": "input_text", "text": text}
        item = {"type": "message", "role": "user", "content": [part]}
        self.run(connection.conversation.item.create(item=item))


@pytest.fixture
def sockets() -> Iterator[LoopbackSockets]:
    with LoopbackSockets() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, sockets: LoopbackSockets) -> Iterator[Face]:
    yield from showing(Face, request.param)


@pytest.fixture
def sync(sockets: LoopbackSockets) -> Iterator[Face]:
    """The sync face alone, where async would test nothing else."""
    yield from showing(Face, "sync")


@pytest.fixture
def asynchronous(sockets: LoopbackSockets) -> Iterator[Face]:
    """Async only, where sync is another thing."""
    yield from showing(Face, "async")


@pytest.fixture
def usage(home: Path) -> Callable[[], list[Any]]:
    """Return what the ledger says was billed."""

    def read() -> list[Any]:
        from safellm.stores.ledger.choose import file_ledger

        return file_ledger(home / "ledger.sqlite3").usage()

    return read


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A TLS server's settings for 127.0.0.1, and the file with the certificate that vouches for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates are valid for a time
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, bundle = tmp_path / "chain.pem", tmp_path / "bundle.pem"
    certificate = made.public_bytes(serialization.Encoding.PEM)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    chain.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain) + certificate)
    bundle.write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, str(bundle)
