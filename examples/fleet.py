"""For a platform team: three programs, one broker that holds the key and the trail, one ledger, one report. Offline.

    python examples/fleet.py [PAGE]

PAGE: where the report is kept; without it the page is made and thrown away. The ledger is a Redis with an append-only file where
`redis-server` and the package `redis` are installed, else the SQLite file that all processes of the broker's user share.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from openai import OpenAIError
from safellm import OpenAI, Refused, read_grant, report_page
from safellm.testing.provider import LoopbackProvider

LONGEST_S = 60.0  # for each step: nothing here waits for ever
PROGRAMS = {  # what each one asks, and of which model
    "billing": ("gpt-4o-mini", "Remind jane.roe@example.com of invoice 17."),
    "support": ("gpt-4o-mini", "How do I reset a password?"),
    "research": ("gpt-5", "Summarise these notes."),  # its grant is for another model
}
CALLS = 5
POLICY = """
locked = ["budget", "redaction", "audit"]

[redaction.types]
EMAIL = "mask"

[budget]
# ledger = "redis://…"

[[budget.limits]]
name = "fleet"
window = "day"
requests = 7
"""


def program(name: str, base_url: str) -> None:
    """Be one program of the fleet: it finds broker and grant in its environment, and has no key."""
    model, prompt = PROGRAMS[name]
    with OpenAI(base_url=base_url, max_retries=0) as client:
        for _ in range(CALLS):
            try:
                client.responses.create(model=model, input=prompt)
            except Refused as error:
                print(error.reason)
            except OpenAIError as error:
                print(type(error).__name__)
            else:
                print("answered")


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a server, and end it whatever happens."""
    process = subprocess.Popen(  # noqa: S603 - a command of this file
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def start_redis(stack: ExitStack, folder: Path) -> str:
    """Start a Redis on a Unix socket, and return its address; an empty text where there is none."""
    command = shutil.which("redis-server") or shutil.which("valkey-server")
    if command is None or importlib.util.find_spec("redis") is None or not hasattr(socket, "AF_UNIX"):
        return ""
    path = folder / "r"
    settings = {"port": "0", "unixsocket": str(path), "dir": str(folder), "save": "", "appendonly": "yes"}
    settings["logfile"] = str(folder / "redis.log")
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    server = stack.enter_context(running([command, *words], dict(os.environ)))
    end = time.monotonic() + LONGEST_S
    while not path.exists():  # it listens from then on
        if server.poll() is not None or time.monotonic() > end:
            msg = "redis-server doesn't start"
            raise RuntimeError(msg)
        time.sleep(0.02)
    return f"unix://{path}"


def start_broker(stack: ExitStack, environ: dict[str, str], folder: Path) -> str:
    """Start the broker, and return the address that programs set."""
    command = [sys.executable, "-m", "safellm", "broker", "run", "--socket", str(folder / "b")]
    broker = stack.enter_context(running(command, environ))
    assert broker.stderr is not None
    said = []
    for line in broker.stderr:  # ends when the broker does
        said.append(line)
        _, found, address = line.partition("SAFELLM_BROKER=")
        if found:
            return address.strip()
    msg = f"the broker doesn't start: {''.join(said)}"
    raise RuntimeError(msg)


def command(environ: dict[str, str], *words: str, given: str = "") -> str:
    """Run a command of safellm as an operator does, and return what it prints."""
    done = subprocess.run(  # noqa: S603 - a command of this file
        [sys.executable, "-m", "safellm", *words],
        env=environ, input=given, capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def run_programs(environ: dict[str, str], folder: Path, grant: str, base_url: str) -> None:
    """Run all programs at the same time, each in a process of its own with a narrower grant than the team's."""
    started = {}
    try:
        for name in PROGRAMS:
            narrower = read_grant(grant).narrow(model="gpt-4o-mini", max_output_tokens=500)
            own = {"SAFELLM_HOME": str(folder / name), "SAFELLM_GRANT": narrower.text()}
            started[name] = subprocess.Popen(  # noqa: S603 - this file
                [sys.executable, __file__, "--program", name, base_url],
                env=environ | own, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        answered = 0
        for name, process in started.items():
            lines = process.communicate(timeout=LONGEST_S)[0].split()
            if process.returncode:
                msg = f"{name} failed"
                raise RuntimeError(msg)
            answered += lines.count("answered")
            reasons = sorted(set(lines) - {"answered"})
            print(f"{name}: {len(lines)} calls{', refused: ' if reasons else ''}{', '.join(reasons)}")
    finally:
        for process in started.values():
            if process.poll() is None:
                process.kill()
                process.communicate()
    print(f"answered in all: {answered}")


def main(page: Path) -> None:
    """Set up a fleet, let it work, and look at the ledger and the trail afterwards."""
    key = "demonstration-key-" + os.urandom(16).hex()  # the provider takes this one only
    base = {name: value for name, value in os.environ.items() if not name.startswith(("SAFELLM_", "OPENAI_"))}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet")))
        provider = stack.enter_context(LoopbackProvider(api_key=key))
        ledger = start_redis(stack, folder)
        print("ledger:", "Redis with an append-only file" if ledger else "no Redis here, so the shared SQLite file")

        policy = POLICY.replace('# ledger = "redis://…"', f'ledger = "{ledger}"') if ledger else POLICY
        (folder / "policy.toml").write_text(policy, "utf-8")
        (folder / "passphrase").write_text(os.urandom(16).hex(), "utf-8")
        (folder / "passphrase").chmod(0o400)
        fleet = base | {"SAFELLM_POLICY": str(folder / "policy.toml")}
        own = {"SAFELLM_HOME": str(folder / "broker"), "SAFELLM_PASSPHRASE_FILE": str(folder / "passphrase")}
        broker = fleet | own | {"SAFELLM_KEYS_STORE": "file"}  # on a desktop: the system's key store
        command(broker, "keys", "set", "openai", "--origin", provider.origin, "--store", "file", "--stdin", given=key)
        grant = command(
            broker, "grant", "new", "--operation", "*", "--model", "gpt-4o*", "--expires", "1h", "--note", "fleet"
        )
        address = start_broker(stack, broker, folder)
        run_programs(base | {"SAFELLM_BROKER": address}, folder, grant.strip(), provider.base_url)

        texts = [json.dumps(one.json) for one in provider.requests]
        print("mail addresses that the provider got:", sum("jane.roe@" in text for text in texts))
        # Asked from another machine, so to speak: a home of its own, the same Redis.
        fleet["SAFELLM_HOME"] = str(folder / ("elsewhere" if ledger else "broker"))
        (limit,) = json.loads(command(fleet, "budget", "--json"))["limits"]
        print(f"the ledger says: {limit['used']} of {limit['limit']} {limit['unit']}")

        os.environ["SAFELLM_HOME"] = str(folder / "broker")
        report = report_page(folder / "broker" / "audit")
        where = report.save(page if page.name else folder / "report.html")
        print(f"report: {where.stat().st_size // 1024} KB" + (f" in {where}" if page.name else ""))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        program(*sys.argv[2:4])
    else:
        main(Path(*sys.argv[1:2]))
