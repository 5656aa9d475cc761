"""`safellm broker`: a process that holds the keys, so that programs don't."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import http.client
import json as jsonlib
import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from safellm.cli.show import PROBLEM, AsJson, print_json, say, tell
from safellm.errors import ConfigurationError

app = typer.Typer(help="A process that holds the keys; programs hold grants only.", no_args_is_help=True)

_TIMEOUT_S = 10.0
_Socket = Annotated[Path | None, typer.Option("--socket", help="The socket; by default in the user's runtime folder.")]


@app.command()
def run(
    *,
    path: _Socket = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Listen on 127.0.0.1 as well, for programs without sockets.")
    ] = None,
    user: Annotated[
        list[int] | None, typer.Option(help="Another user (number) who may connect; may be repeated.")
    ] = None,
) -> None:
    """Run the broker in the foreground, until it is told to stop.

    It owns the vault, the ledger and the trail. A program finds it through SAFELLM_BROKER and needs a grant.
    """
    import asyncio

    from safellm.broker.harden import harden
    from safellm.broker.serve import Options, serve

    hardened = harden()
    options = Options(path=_place(path), port=port, users=frozenset(user or ()))
    environ = {name: value for name, value in os.environ.items() if name != "SAFELLM_BROKER"}
    asyncio.run(serve(options, environ, ready=_ready, hardened=hardened))


@app.command()
def status(*, path: _Socket = None, json: AsJson = False) -> None:
    """Show whether the broker runs, and what it does. Exit code 1: it doesn't run."""
    found = _ask(_place(path), "status")
    if found is None:
        say("No broker runs here. Start one: safellm broker run", "red")
        raise typer.Exit(PROBLEM)
    if json:
        print_json(found)
        return
    say(f"The broker runs (process {found['pid']}, {found['uptime_s']} s): {found['calls']} calls, {found['open']} open, "
        f"{found['refused']} refused. Hardened: {', '.join(found['hardened']) or 'no'}.", "green")  # fmt: skip
    if found["policy_problem"]:
        say(f"The policy was changed and can't be read; the old one is in force. {found['policy_problem']}", "red")


@app.command()
def stop(*, path: _Socket = None) -> None:
    """Have the broker end: calls under way may end first. Exit code 1: it doesn't run."""
    if _ask(_place(path), "stop") is None:
        say("No broker runs here.")
        raise typer.Exit(PROBLEM)
    say("It ends.")


def _place(path: Path | None) -> Path:
    from safellm.broker.serve import default_socket

    return default_socket(os.environ) if path is None else path.absolute()


def _ready(addresses: list[str]) -> None:
    gc.collect()
    gc.freeze()  # what is loaded now lives as long as the process: no collection walks it again
    tell("safellm broker: ready. Programs find it with one of:")
    for address in addresses:
        tell(f"  export SAFELLM_BROKER={address}")
    tell(
        "and need a grant, as SAFELLM_GRANT or in place of the API key: safellm grant new --operation chat --model 'gpt-4o*'"
    )


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("safellm.invalid", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))


def _ask(path: Path, command: str) -> dict[str, Any] | None:
    from safellm.broker.serve import HAS_SOCKETS

    if not HAS_SOCKETS:
        raise ConfigurationError(
            "This system has no Unix sockets for Python, by which the broker could be asked",
            remedy="It runs in its own window and ends with Ctrl-C.",
        )
    connection = _OverSocket(path)
    try:
        connection.request("GET", f"/safellm/{command}")
        answer = connection.getresponse()
        body = jsonlib.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The broker doesn't answer ({type(error).__name__})", remedy="Is it another user's?", where=str(path)
        ) from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ConfigurationError(
            "The broker doesn't answer to this user", remedy="Ask as its own user.", where=str(path)
        )
    return dict(body)
