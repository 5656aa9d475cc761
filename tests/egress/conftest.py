"""Guarded SDK clients over both HTTP families, resolvers and servers that misbehave, and certificates made for the test."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import inspect
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from egress_support import answer, read_request

from safellm.client import prepare
from safellm.transports.http import guard_client
from safellm_openai.adapter import ADAPTER
from safellm_openai.errors import native_error

FAMILIES = [name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]


class Way:
    """One HTTP family, sync or async, called the same. Its client is guarded as the SDKs' default ones are."""

    def __init__(self, family: str, kind: str) -> None:
        self.module: Any = importlib.import_module(family)
        self.core: Any = importlib.import_module(family.replace("httpx", "httpcore"))
        self.is_async = kind == "async"
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def client(
        self,
        url: str = "https://api.openai.com",
        *,
        own: bool = True,
        http: Any = None,
        in_code: bool = True,
        **settings: Any,
    ) -> Any:
        """Return a guarded HTTP client for calls to the origin of a URL."""
        made = http or (self.module.AsyncClient if self.is_async else self.module.Client)(
            follow_redirects=True, timeout=20
        )
        self._clients.append(made)
        setup = prepare(ADAPTER, settings, sdk="test")
        from safellm._core.origin import parse_origin

        driver = setup.driver(parse_origin(url), in_code=in_code, native=native_error)
        return guard_client(made, driver, own=own)

    def run(self, value: Any) -> Any:
        return self._runner.run(_await(value)) if inspect.isawaitable(value) else value

    def post(self, client: Any, url: str, **options: Any) -> Any:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
        return self.run(client.post(url, **{"json": body, **options}))

    def end(self) -> None:
        for client in self._clients:
            self.run(client.aclose() if self.is_async else client.close())
        self._runner.close()


async def _await(value: Any) -> Any:
    return await value


@pytest.fixture(params=[f"{family}-{kind}" for family in FAMILIES for kind in ("sync", "async")])
def way(request: pytest.FixtureRequest, home: Path, nothing_left: None) -> Iterator[Way]:
    """Both families, sync and async; a folder of its own for each test, and nothing left behind."""
    made = Way(*request.param.split("-"))
    yield made
    made.end()


class Resolver:
    """Answers names as a test says; counts questions. What isn't listed is asked of the real one."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.answers:
            return self._real(host, port, *arguments, **named)
        self.asked.append(name)
        answers = self.answers[name]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in one else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (one, int(port), 0, 0) if ":" in one else (one, int(port)),
            )
            for one in found
        ]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every address that a connection was begun to; none is made to another machine."""
    seen: list[tuple[str, int]] = []

    def note(real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != getattr(socket, "AF_UNIX", None):
                seen.append(address[:2])
                if address[0] not in ("127.0.0.1", "::1"):
                    raise ConnectionRefusedError("no test leaves this machine")
            return real(self, address)

        return connect

    class Socket(socket.socket):
        connect = note(socket.socket.connect)
        connect_ex = note(socket.socket.connect_ex)

    monkeypatch.setattr(socket, "socket", Socket)
    return seen


class Authority:
    """A certificate authority, and a server certificate of it for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates need the real time

        def certificate(subject: str, key: Any, issuer: Any, signer: Any, *extensions: Any) -> Any:
            name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
            made = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(issuer or name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - dt.timedelta(hours=1))
                .not_valid_after(now + dt.timedelta(hours=1))
            )
            for extension in extensions:
                made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            return made.sign(signer, hashes.SHA256())

        def pem(one: Any) -> bytes:
            return bytes(one.public_bytes(serialization.Encoding.PEM))

        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = certificate("test authority", root_key, None, root_key, x509.BasicConstraints(ca=True, path_length=None))
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.DNSName("llm.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        leaf = certificate("server", key, root.subject, root_key, names)
        self.bundle = folder / "authority.pem"
        self.bundle.write_bytes(pem(root))
        self.chain = folder / "server.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.chain.write_bytes(pem(leaf) + secret)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def raw() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Start servers that are one function of a socket; return the port."""
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []
    over = threading.Event()

    def start(serve: Callable[[socket.socket], None]) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(0.1)
        opened.append(listening)

        def handle(connection: socket.socket) -> None:
            with connection:
                connection.settimeout(10)
                try:
                    serve(connection)
                except OSError:
                    pass  # the client has left; the test looks at what was seen

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                except OSError:
                    return
                thread = threading.Thread(target=handle, args=(connection,))
                threads.append(thread)
                thread.start()

        thread = threading.Thread(target=accept)
        threads.append(thread)
        thread.start()
        return int(listening.getsockname()[1])

    start.over = over  # type: ignore[attr-defined]  # servers that wait look at it
    yield start
    over.set()
    for one in opened:
        one.close()
    for thread in threads:
        thread.join(10)


@pytest.fixture
def foreign(raw: Callable[..., int], authority: Authority) -> tuple[int, list[bytes]]:
    """A TLS server whose authority nobody knows; return its port, and the requests that arrived."""
    seen: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            seen.append(read_request(secured))
            secured.sendall(answer())

    return raw(serve), seen
