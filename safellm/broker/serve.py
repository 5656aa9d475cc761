"""The broker's life: sockets, signals, an orderly end."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safellm._version import __version__
from safellm.broker.connection import Connection
from safellm.broker.peers import peer_uid
from safellm.broker.upstream import Upstream
from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.places import find_places

_GRACE_S = 10.0
_LONGEST_PATH = 100  # of a Unix socket: 104 bytes on macOS, 108 on Linux
_BACKLOG = 1024
HAS_SOCKETS = hasattr(socket, "AF_UNIX")  # Python on Windows has none; named pipes are not spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        path: Of the Unix socket.
        port: On 127.0.0.1 as well; 0: any free one; None: no.
        users: Who may connect to the socket besides the broker's own user; with any, the socket is open to all and each
            peer is asked who he is.
    """

    path: Path
    port: int | None = None
    users: frozenset[int] = frozenset()


def default_socket(environ: Mapping[str, str]) -> Path:
    """Return where the broker listens unless told otherwise: the user's runtime folder, else the state folder."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_absolute() and not environ.get("SAFELLM_HOME"):
        return Path(runtime) / "safellm" / "broker.sock"
    return find_places(environ).state / "broker.sock"


async def serve(  # noqa: C901 - the order of a life, read from top to bottom
    options: Options, environ: Mapping[str, str], *, ready: Callable[[list[str]], None], hardened: list[str]
) -> None:
    """Serve until SIGTERM, SIGINT or `safellm broker stop`.

    Args:
        options: Where to listen.
        environ: The process's variables.
        ready: Told the addresses once connections are accepted.
        hardened: What `harden` did, for the status.

    Raises:
        ConfigurationError: a setting is wrong, a broker runs already, or an address can't be used.
    """
    loop = asyncio.get_running_loop()
    upstream, stop = Upstream(environ), asyncio.Event()
    live: set[Connection] = set()
    counts = {"calls": 0, "refused": 0}
    began = time.monotonic()

    def control(command: str) -> dict[str, Any] | None:
        if command == "stop":
            stop.set()
        elif command == "reload":
            upstream.reload()
        elif command != "status":
            return None
        return {
            "pid": os.getpid(),
            "version": __version__,
            "uptime_s": int(time.monotonic() - began),
            "policy": upstream.digest,
            "policy_problem": upstream.problem,
            "mode": str(upstream.policy.mode),
            "hardened": hardened,
            "open": sum(one.busy for one in live) - 1,  # without the question itself
            "connections": len(live) - 1,
            **counts,
        }

    def local() -> Connection:
        welcome = _welcome(frozenset({os.geteuid(), *options.users}))
        return Connection(upstream=upstream, welcome=welcome, hosts=None, control=control, live=live, counts=counts)

    servers: list[asyncio.Server] = []
    addresses: list[str] = []
    identity, port = 0, options.port
    try:
        if HAS_SOCKETS:
            listener = _unix_listener(options)
            servers.append(await loop.create_unix_server(local, sock=listener, backlog=_BACKLOG))
            identity = options.path.stat().st_ino
            addresses.append(str(options.path))
        elif port is None:
            port = 0  # the one way in that is left, and it needs a grant for every call
        if port is not None:
            tcp = _tcp_listener(port)
            port = tcp.getsockname()[1]
            hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})

            def remote() -> Connection:
                return Connection(
                    upstream=upstream, welcome=_anybody, hosts=hosts, control=None, live=live, counts=counts
                )

            servers.append(await loop.create_server(remote, sock=tcp, backlog=_BACKLOG))
            addresses.append(f"http://127.0.0.1:{port}")
        for name, handler in (("SIGTERM", stop.set), ("SIGINT", stop.set), ("SIGHUP", upstream.reload)):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # not in a thread, not on Windows
                loop.add_signal_handler(getattr(signal, name), handler)
        ready(addresses)
        await stop.wait()
    finally:
        for server in servers:
            server.close()
        with contextlib.suppress(OSError):
            if identity and options.path.stat().st_ino == identity:
                options.path.unlink()
        for one in list(live):
            one.leave()
        await asyncio.gather(*(one.ended(_GRACE_S) for one in list(live)))
        await upstream.aclose()


def _welcome(users: frozenset[int]) -> Callable[[Any], tuple[int | None, str]]:
    def ask(sock: socket.socket) -> tuple[int | None, str]:
        try:
            uid = peer_uid(sock)
        except OSError:
            uid = None
        return uid, "" if uid in users else "This broker is not for your user"

    return ask


def _anybody(_: Any) -> tuple[int | None, str]:
    return None, ""


def _unix_listener(options: Options) -> socket.socket:
    path = options.path
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigurationError(
            "The socket's path is too long", remedy="Give a shorter one: --socket.", where=str(path)
        )
    try:
        durable.private_folder(path.parent)
        _remove_stale(path)
        if options.users:
            _check_open(path)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is 0600 from its first moment
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        if options.users:
            path.chmod(0o666)  # each peer is asked who he is
    except OSError as error:
        raise ConfigurationError(
            f"The socket can't be made ({error.strerror})", remedy="Give another place: --socket.", where=str(path)
        ) from None
    return made


def _check_open(path: Path) -> None:
    """See to it that users who are let in can get to the socket at all."""
    closed = next((one for one in path.parents if not one.stat().st_mode & stat.S_IXOTH), None)
    if closed is not None:
        raise ConfigurationError(
            f"Other users can't get to the socket: {closed} is closed to them",
            remedy="Give a place that they may pass, such as --socket /run/safellm/broker.sock.",
            where=str(path),
        )


def _remove_stale(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError("Something else stands in the socket's place", remedy="Remove it.", where=str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # of a broker that was killed
            return
    raise ConfigurationError("A broker runs there already", remedy="See `safellm broker status`.", where=str(path))


def _tcp_listener(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"The port {port} can't be used ({error.strerror})", remedy="Give another: --port."
        ) from None
    return made
