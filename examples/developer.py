"""For a developer: one import is swapped, nothing else changes. Runs offline, against a provider on this machine.

python examples/developer.py
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from openai import RateLimitError
from safellm import OpenAI, Refused  # instead of: from openai import OpenAI
from safellm.testing.provider import LoopbackProvider


def main() -> None:
    """Make a plain call, a streamed one, and one that the budget refuses."""
    with LoopbackProvider() as provider:  # it quotes what it gets; a real program leaves base_url and api_key out
        budget = {"budget": {"limits": [{"name": "example", "window": "minute", "tokens": 20_000}]}}
        client = OpenAI(base_url=provider.base_url, api_key="any", safellm=budget)

        answer = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Write to jane.roe@example.com, please."}]
        )
        print("left this machine: ", provider.requests[-1].json["messages"][0]["content"])
        print("the program got:   ", answer.choices[0].message.content)

        stream = client.responses.create(model="gpt-4o-mini", input="Call +1 212 555 0123 today.", stream=True)
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        print("streamed:          ", text)

        try:
            client.responses.create(model="gpt-4o-mini", input="Tell me everything.", max_output_tokens=100_000)
        except RateLimitError as error:
            print("refused as openai.RateLimitError, and safellm.Refused:", isinstance(error, Refused))
            print("  because:", error.message)


if __name__ == "__main__":
    main()
