"""For a platform team: one policy file for all programs, that none of them can loosen, and one shared budget.

python examples/platform_team.py
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

from openai import OpenAIError
from safellm import ConfigurationError, OpenAI, Refused
from safellm.testing.provider import LoopbackProvider

POLICY = Path(__file__).with_name("platform_policy.toml").resolve()


def ask(client: OpenAI, program: str, prompt: str) -> None:
    """Make one call and print how it ended."""
    try:
        client.responses.create(model="gpt-4o-mini", input=prompt)
    except Refused as error:
        print(f"{program}: refused, {error.reason}: {error.what}")
    except OpenAIError as error:
        print(f"{program}: the provider failed ({type(error).__name__})")
    else:
        print(f"{program}: answered")


def main() -> None:
    """Run two programs under the same policy."""
    os.environ["SAFELLM_POLICY"] = str(POLICY)  # on a real machine: set by whoever runs the programs
    with LoopbackProvider() as provider:
        billing = OpenAI(base_url=provider.base_url, api_key="any")
        support = OpenAI(base_url=provider.base_url, api_key="any")

        ask(billing, "billing", "Remind jane.roe@example.com of her invoice.")
        print("  left this machine:", provider.requests[-1].json["input"])
        ask(support, "support", "Use the key " + "sk-" + "proj-" + "A1b2C3d4" * 5 + " for that.")
        ask(support, "support", "How do I reset a password?")
        ask(billing, "billing", "Write a reminder.")
        ask(support, "support", "One more question.")  # the fourth call of the day: both programs share the account

        try:
            OpenAI(base_url=provider.base_url, api_key="any", safellm={"redaction": {"enabled": False}})
        except ConfigurationError as error:
            print(f"a program that switches redaction off: {error.problem}")


if __name__ == "__main__":
    main()
