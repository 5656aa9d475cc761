"""A trail as a program leaves it, made without a program."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from safellm.stores.journal.jsonl import JsonlJournal

NOW = 1_790_000_000_000_000_000
HOUR = 3600 * 10**9
NASTY = "<script>alert(1)</script>\"'\x1b[31m"


@pytest.fixture
def trail(home: Path) -> Path:
    """Three calls of two users, one of them failed, one without outcome, and two refusals; over several files."""
    journal = JsonlJournal(home / "audit", sync="none", rotate_bytes=1500)
    common = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "server.address": "api.example",
        "server.port": 443, "safellm.sdk": "openai/3", "policy.digest": "a" * 64, "safellm.version": "1",
    }  # fmt: skip
    calls = [("gpt-5", "g1", 1500, 100, 20, 700), (NASTY, "g2", 90, 10, 2, 50), ("gpt-5", "g1", None, 0, 0, 0)]
    for number, (model, grant, ms, into, out, micro) in enumerate(calls):
        start = NOW + number * HOUR
        fields = {
            **common, "event.id": f"call{number}", "decision": "modify", "gen_ai.request.stream": False,
            "gen_ai.request.model": model, "safellm.grant.id": grant, "safellm.request.bytes": 10,
            "safellm.content.hmac_in": "b" * 64, "safellm.redaction.counts": {"EMAIL": number + 1},
            "safellm.budget.reserved": {"input_tokens": 1, "output_tokens": 1},
        }  # fmt: skip
        journal.append("call.intent", fields, time_ns=start)
        if ms is None:
            continue
        fields = {
            **common, "event.parent": f"call{number}", "decision": "allow", "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": into, "gen_ai.usage.output_tokens": out, "safellm.content.hmac_out": "c" * 64,
            "safellm.budget.charged": {"input_tokens": into, "output_tokens": out, "micro_usd": micro},
            **({"error.type": "500", "http.response.status_code": 500} if number else {"http.response.status_code": 200}),
        }  # fmt: skip
        journal.append("call.outcome", fields, time_ns=start + ms * 10**6)
    deny = {"decision": "deny", "safellm.guard": "budget", "policy.digest": "a" * 64, "safellm.version": "1"}
    for number in range(2):
        journal.append(
            "policy.deny", {**deny, "event.id": f"no{number}", "reason": "budget.exceeded"}, time_ns=NOW + 5 * HOUR
        )
    journal.close()
    return home / "audit"
