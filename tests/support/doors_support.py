"""What the tests of doors share: a canary, a raw request, and the check that nothing of the canary arrived."""

from __future__ import annotations

from typing import Any

from safellm.testing.provider import LoopbackProvider

MAIL = "alice@example.com"


def body(text: str = f"mail {MAIL}") -> dict[str, Any]:
    """Return a chat request as raw HTTP sends it."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}


def nothing_leaked(provider: LoopbackProvider, requests: int) -> None:
    """So many requests arrived, and none holds the canary."""
    assert len(provider.requests) == requests
    assert all(MAIL.encode() not in one.head + one.body for one in provider.requests)
    assert all(b"X-EMAIL-" in one.body for one in provider.requests if one.method == "POST")
