"""What the broker costs a call, and many streams at once: `python tests/benchmarks/broker.py [calls] [streams]`.

Broker, provider and program are processes of their own on this machine. Compared, in turn: the same request sent to the
provider directly, and to the broker over its Unix socket (with redaction, ledger and trail), by the same HTTP client.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

KEY = "benchmark-key-" + "x" * 32
CHAT = "/v1/chat/completions"
CHUNKS = 20


def provider(pipe: Any) -> None:
    """A provider that answers at once, or in a stream of small events: as cheap as can be, so that the broker is what is seen."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = {"role": "assistant", "content": "hello"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        whole = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "usage": usage,
                            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()  # fmt: skip
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                body = await reader.readexactly(size)
                if b'"stream":true' not in body.replace(b" ", b""):
                    writer.write(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                        % (len(whole), whole)
                    )
                    continue
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for number in range(CHUNKS):
                    delta = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
                             "choices": [{"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}]}  # fmt: skip
                    event = b"data: %s\n\n" % json.dumps(delta).encode()
                    writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                    await writer.drain()
                    await asyncio.sleep(0.05)
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    _more_files()
    asyncio.run(run())


def broker(folder: str, port: int, pipe: Any) -> None:
    """The broker itself."""
    from safellm._core.origin import parse_origin
    from safellm._core.secret import Secret
    from safellm.broker.harden import harden
    from safellm.broker.serve import Options, serve
    from safellm.stores.grants import Grants
    from safellm.stores.vault import sealed_file
    from safellm.stores.vault.interface import StoredKey

    home = Path(folder)
    passphrase = home / "passphrase"
    passphrase.write_text("benchmark", "ascii")
    passphrase.chmod(0o400)
    origin = parse_origin(f"http://127.0.0.1:{port}")
    vault = sealed_file.SealedFileVault(home, lambda _: Secret("benchmark"))
    vault.set(StoredKey(name="openai", provider="openai", origins=(origin,), created_ns=1, secret=Secret(KEY)))
    now = int(time.time())
    caveats: dict[str, Any] = {"key": "openai", "operation": ["chat"], "model": ["gpt-4o"], "expires": now + 3600}
    grant = Grants(home).issue(caveats, note="", now_s=now)
    environ = {"SAFELLM_HOME": folder, "SAFELLM_KEYS_STORE": "file", "SAFELLM_PASSPHRASE_FILE": str(passphrase)}
    hardened = harden()
    asyncio.run(
        serve(
            Options(path=home / "s"),
            environ,
            ready=lambda _: (gc.collect(), gc.freeze(), pipe.send(grant.text())),
            hardened=hardened,
        )
    )


def body(*, stream: bool = False) -> bytes:
    """Return a small chat."""
    text = "Tell me in one sentence why the sky is blue. " * 4
    return json.dumps({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()


def latency(socket: str, grant: str, port: int, calls: int) -> None:
    """Print what a call costs either way, taken in turn."""
    head = {"content-type": "application/json"}
    direct = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={**head, "authorization": f"Bearer {KEY}"})
    through = httpx.Client(
        base_url="http://x",
        transport=httpx.HTTPTransport(uds=socket),
        headers={**head, "authorization": f"Bearer {grant}"},
    )
    taken: dict[str, list[float]] = {"direct": [], "broker": []}
    for _ in range(calls):
        for name, client in (("direct", direct), ("broker", through)):
            began = time.perf_counter()
            client.post(CHAT, content=body()).raise_for_status()
            taken[name].append((time.perf_counter() - began) * 1000)
    for name, times in taken.items():
        print(f"{name}: median {statistics.median(times):.2f} ms, p95 {statistics.quantiles(times, n=20)[18]:.2f} ms")
    print(f"added at the median: {statistics.median(taken['broker']) - statistics.median(taken['direct']):.2f} ms")


async def streams(socket: str, grant: str, count: int) -> None:
    """Print how many of many streams at once came whole."""
    wanted = "".join(f"{number} " for number in range(CHUNKS))
    limits = httpx.Limits(max_connections=None)
    way = httpx.AsyncHTTPTransport(uds=socket, limits=limits)
    head = {"content-type": "application/json", "authorization": f"Bearer {grant}"}

    async with httpx.AsyncClient(base_url="http://x", transport=way, headers=head, timeout=120) as client:

        async def one() -> bool:
            async with client.stream("POST", CHAT, content=body(stream=True)) as answer:
                text = ""
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        for choice in json.loads(line[6:])["choices"]:
                            text += choice["delta"].get("content") or ""
                return text == wanted

        began = time.perf_counter()
        done = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
        took = time.perf_counter() - began
        errors = {type(one).__name__ for one in done if isinstance(one, BaseException)}
        print(
            f"{count} streams at once: {sum(one is True for one in done)} whole, {took:.1f} s; errors: {errors or 'none'}"
        )


def verification(rounds: int = 2000) -> None:
    """Print the CPU time of verifying a grant with all that a careful person says in one."""
    from safellm._core import grant as grants

    root = bytes(range(32))
    caveats = {
        "key": "openai",
        "operation": ["chat"],
        "model": ["gpt-5*"],
        "expires": 2_000_000_000,
        "tool": ["search"],
    }
    made = grants.issue(root, "0" * 24, {**caveats, "max_output_tokens": 2000, "budget": {"micro_usd": 5_000_000}})
    text = made.narrow(calls=10).text()
    taken = []
    for _ in range(10):
        began = time.process_time()
        for _ in range(rounds // 10):
            grants.verify(text, root)
        taken.append((time.process_time() - began) / (rounds // 10) * 1e6)
    print(f"verifying a grant of 8 caveats: {statistics.median(taken):.0f} us")


def cpu_ms(pid: int | None) -> float:
    """Return the CPU time of a process so far (proc(5): fields 14 and 15 of `stat`), or 0 where the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def _more_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))


def main() -> None:
    """Start the three, measure, and stop them."""
    calls, count = [*map(int, sys.argv[1:]), 300, 1000][:2] if len(sys.argv) > 1 else (300, 1000)
    _more_files()
    verification()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="slm", dir="/tmp") as folder:
        here, there = spawn.Pipe()
        started = [spawn.Process(target=provider, args=(there,), daemon=True)]
        started[0].start()
        port = here.recv()
        started.append(spawn.Process(target=broker, args=(folder, port, there), daemon=True))
        started[1].start()
        grant = here.recv()
        try:
            latency(f"{folder}/s", grant, port, 20)  # opens the vault, loads the detection rules
            before = cpu_ms(started[1].pid)
            latency(f"{folder}/s", grant, port, calls)
            print(f"CPU of the broker: {(cpu_ms(started[1].pid) - before) / calls:.2f} ms a call")
            asyncio.run(streams(f"{folder}/s", grant, count))
            from safellm.stores.journal.files import find

            lines = [line for file in find(Path(folder) / "audit") for line in file.path.read_bytes().splitlines()]
            outcomes = sum(b'"call.outcome"' in line for line in lines)
            print(f"outcomes in the trail: {outcomes} of {20 + calls + count}")
        finally:
            for one in reversed(started):
                one.terminate()
                one.join(15)


if __name__ == "__main__":
    main()
