"""What the guard costs over each SDK, plain and guarded in turn: `python tests/benchmarks/providers.py [--rounds 40] [NAME …]`.

For OpenAI, Anthropic, google-genai and google-generativeai (over REST): a call with 4 KB and a stream of 200 deltas. CPU time of
this process with all its threads; the provider runs in another. Python calls of this thread, which no other load on the machine
can change. Medians; ratios within one run can be compared, absolute values between machines can't.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from calls import compare, heading, provider, texts

_DELTAS = 200
Clients = dict[
    str, Callable[[str, bool], Any]
]  # by name: makes a call with a text, streamed or not, and returns its pieces


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SDKS], help="of the SDKs; default: all")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    for name in [*os.environ]:
        if name.startswith(("OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "SAFELLM_")):
            del os.environ[name]
    os.environ |= {"SAFELLM_HOME": tempfile.mkdtemp(prefix="safellm-benchmark-"), "SAFELLM_KEYS_VAULT": "false"}
    warnings.simplefilter("ignore")  # what SDKs say of themselves and of models
    with provider("origin") as url:
        heading("CPU", "us", "added us", "ratio")
        for name in options.names or SDKS:
            clients, prompts = SDKS[name](url), texts(4096)
            for one in clients.values():
                pieces = list(one(prompts[0], True))
                assert len(pieces) >= _DELTAS, f"{name}: {len(pieces)} pieces"
            compare(
                f"{name}, call 4 KB", clients, lambda run, turn, of=prompts: list(run(of[turn], False)), options.rounds
            )
            compare(
                f"{name}, {_DELTAS} deltas",
                clients,
                lambda run, turn, of=prompts: list(run(of[turn], True)),
                options.rounds // 2,
            )
            for what, streamed in (("call", False), (f"{_DELTAS} deltas", True)):
                _counted(f"{name}, {what}, Python calls", clients, prompts, streamed=streamed)


def _openai(url: str) -> Clients:
    import openai
    import safellm

    def runs(client: Any) -> Callable[[str, bool], Iterable[Any]]:
        def run(text: str, streamed: bool) -> Iterable[Any]:
            said = [{"role": "user", "content": text}]
            made = client.chat.completions.create(model="gpt-4o", messages=said, stream=streamed)
            return made if streamed else [made.choices]

        return run

    options: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "x"}
    return {"plain SDK": runs(openai.OpenAI(**options)), "safellm": runs(safellm.OpenAI(**options))}


def _anthropic(url: str) -> Clients:
    import anthropic
    import safellm

    def runs(client: Any) -> Callable[[str, bool], Iterable[Any]]:
        def run(text: str, streamed: bool) -> Iterable[Any]:
            said = [{"role": "user", "content": text}]
            made = client.messages.create(model="claude-sonnet-4-5", max_tokens=1000, messages=said, stream=streamed)
            return made if streamed else [made.content]

        return run

    options: dict[str, Any] = {"base_url": url, "api_key": "x"}
    return {"plain SDK": runs(anthropic.Anthropic(**options)), "safellm": runs(safellm.Anthropic(**options))}


def _genai(url: str) -> Clients:
    from google import genai
    from safellm.google import genai as guarded

    def runs(client: Any) -> Callable[[str, bool], Iterable[Any]]:
        def run(text: str, streamed: bool) -> Iterable[Any]:
            models = client.models
            if streamed:
                return models.generate_content_stream(model="gemini-2.5-flash", contents=text)
            return [models.generate_content(model="gemini-2.5-flash", contents=text).text]

        return run

    options: dict[str, Any] = {"api_key": "x", "http_options": {"base_url": url}}
    return {"plain SDK": runs(genai.Client(**options)), "safellm": runs(guarded.Client(**options))}


def _generativeai(url: str) -> Clients:
    import google.ai.generativelanguage as wire

    import safellm.google.generativeai as guarded

    guarded.configure(api_key="x", client_options={"api_endpoint": url})
    # The SDK has one configuration for all; the plain client is made without it.
    plain = guarded.GenerativeModel("gemini-1.5-flash")
    plain._client = wire.GenerativeServiceClient(transport="rest", client_options={"api_key": "x", "api_endpoint": url})

    def runs(model: Any) -> Callable[[str, bool], Iterable[Any]]:
        def run(text: str, streamed: bool) -> Iterable[Any]:
            made = model.generate_content(text, stream=streamed)
            return made if streamed else [made.text]

        return run

    return {"plain SDK": runs(plain), "safellm": runs(guarded.GenerativeModel("gemini-1.5-flash"))}


SDKS: dict[str, Callable[[str], Clients]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google-genai": _genai,
    "google-generativeai": _generativeai,
}


def _counted(what: str, clients: Clients, prompts: list[str], *, streamed: bool) -> None:
    counts: dict[str, float] = {}
    for name, run in clients.items():
        found = []
        for _ in range(5):
            count = 0

            def note(_: object, event: str, __: object) -> None:
                nonlocal count
                count += event == "call"

            sys.setprofile(note)
            try:
                list(run(prompts.pop(), streamed))
            finally:
                sys.setprofile(None)
            found.append(count)
        counts[name] = statistics.median(found)
    plain = counts["plain SDK"]
    for name, number in counts.items():
        print(f"{what:<46}{name:<12}{number:>9.0f}{number - plain:>+12.0f}{number / plain:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
