"""Real Redis and PostgreSQL servers on Unix sockets, for tests of shared ledgers; ended by process id."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_START_S = 30.0


class EngineMissing(Exception):
    """The server's program isn't installed."""


class RedisServer:
    """A Redis of one test run; `volatile` keeps no append-only file."""

    def __init__(self, *, volatile: bool = False, options: tuple[str, ...] = ()) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise EngineMissing("redis-server")
        self.folder = Path(tempfile.mkdtemp(prefix="safellm-redis-"))
        self.socket = self.folder / "s"
        self._command = [
            program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", "",
            "--appendonly", "no" if volatile else "yes", "--appendfsync", "everysec", "--daemonize", "no", *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, or start it again over the same files."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until(self._answers)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self) -> None:
        """End it and delete its files."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        import redis

        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class PostgresServer:
    """A PostgreSQL of one test run; as root it runs as the user `postgres`."""

    def __init__(self, *, options: tuple[str, ...] = ()) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) if os.name == "posix" else []
        on_path = shutil.which("initdb")
        if not found and on_path is None:
            raise EngineMissing("postgresql")
        self._programs = found[-1].parent if found else Path(str(on_path)).parent
        self._user = "postgres" if hasattr(os, "getuid") and os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="safellm-pg-"))
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._data = self.folder / "data"
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self._data), "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8")

    @property
    def url(self) -> str:
        """Its address."""
        return f"postgresql://tester@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, or start it again over the same files."""
        command = [
            str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder), "-c", "listen_addresses=",
            "-c", "max_connections=60", *self._options,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self._user, cwd=self.folder
        )
        _until(self._answers)

    def kill(self) -> None:
        """End it at once, without writing anything more (SIGQUIT: an immediate shutdown)."""
        assert self.process is not None
        self.process.send_signal(3)
        self.process.wait(timeout=20)

    def stop(self) -> None:
        """End it and delete its files."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments], check=True, capture_output=True, timeout=60, user=self._user,
            cwd=self.folder,
        )  # fmt: skip

    def _answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _START_S
    while not holds():
        if time.monotonic() > end:
            msg = "the server didn't start in time"
            raise RuntimeError(msg)
        time.sleep(0.02)
