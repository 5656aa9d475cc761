"""What the tests of websockets share."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

MAIL = "anna.kowalska@firma-test.pl"


def secret() -> str:
    """Return a key like OpenAI's."""
    return "sk-" + "proj-" + "A1b2C3d4E5" * 4


def deltas(events: list[Any]) -> str:
    """Return the pieces of an answer's text, joined."""
    return "".join(one.delta for one in events if one.type == "response.output_text.delta")


def limited(**limit: Any) -> dict[str, Any]:
    """Return a policy with one limit."""
    return {"budget.limits": [{"window": "total", **limit}]}
