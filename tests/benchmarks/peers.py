"""Other wrappers, measured beside the plain SDK in environments of their own; used by `calls.py --peers`.

Each peer's program takes the provider's address, prompts and rounds, makes the same calls in turn through the plain SDK and
through the peer, and prints medians of CPU time. What can't be installed or run is skipped, and the reason is printed. The
environments are kept in the temporary folder for the next time. Some peers go to the network on their own (the public-suffix list,
telemetry): that is part of what they are.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

_INSTALL_SECONDS = 1200
_RUN_SECONDS = 600

_COMMON = """
import json, statistics, sys, time
url, prompts, rounds = sys.argv[1], json.load(sys.stdin), int(sys.argv[2])
import openai
plain = openai.OpenAI(base_url=url, api_key="x")
def ask(client, text):
    messages = [{{"role": "user", "content": text}}]
    return client.chat.completions.create(model="gpt-4o", messages=messages)
{setup}
times = {{"plain SDK": [], "peer": []}}
for turn in range(rounds + 2):
    text = prompts[turn % len(prompts)]
    for name, run in (("plain SDK", lambda text: ask(plain, text)), ("peer", guarded)):
        began = time.process_time()
        run(text)
        if turn >= 2:
            times[name].append(time.process_time() - began)
print(json.dumps({{name: statistics.median(values) for name, values in times.items()}}))
"""

# name -> (what it does, requirements, its set-up)
PEERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "litellm": (
        "LiteLLM, no guard",
        ("litellm",),
        """
import litellm
litellm.telemetry = False
def guarded(text):
    messages = [{"role": "user", "content": text}]
    litellm.completion(model="openai/gpt-4o", api_base=url, api_key="x", messages=messages)
""",
    ),
    "guardrails-ai": (
        "guardrails-ai, two patterns",
        ("guardrails-ai", "openai"),
        """
import re
from guardrails import Guard
from guardrails.validators import FailResult, PassResult, Validator, register_validator
def pattern(name, text):
    @register_validator(name="benchmark/" + name, data_type="string")
    class Pattern(Validator):
        def validate(self, value, metadata):
            return FailResult(error_message=name) if re.search(text, value) else PassResult()
    return Pattern()
guard = Guard().use(pattern("key", "sk-[A-Za-z0-9]{40}")).use(pattern("mail", "[a-z0-9.]+@[a-z0-9.]+[.][a-z]+"))
def guarded(text):
    guard.validate(text)
    guard.validate(ask(plain, text).choices[0].message.content)
""",
    ),
    "llm-guard": (
        "LLM Guard, secrets and patterns",
        ("llm-guard", "openai"),
        """
from llm_guard import scan_output, scan_prompt
from llm_guard.input_scanners import BanSubstrings, Regex, Secrets
from llm_guard.output_scanners import Regex as OutputRegex
scanners = [Secrets(), Regex(patterns=["sk-[A-Za-z0-9]{40}"]), BanSubstrings(["forbidden"])]
outputs = [OutputRegex(patterns=["sk-[A-Za-z0-9]{40}"])]
def guarded(text):
    clean, _, _ = scan_prompt(scanners, text)
    scan_output(outputs, clean, ask(plain, clean).choices[0].message.content)
""",
    ),
    "openai-guardrails": (
        "openai-guardrails, keywords and keys",
        ("openai-guardrails",),
        """
from guardrails import GuardrailsOpenAI
checks = {"version": 1, "guardrails": [
    {"name": "Keyword Filter", "config": {"keywords": ["forbidden", "banned", "refused"]}},
    {"name": "Secret Keys", "config": {"threshold": "balanced"}},
]}
client = GuardrailsOpenAI(config={"version": 1, "input": checks, "output": checks}, base_url=url, api_key="x")
def guarded(text):
    ask(client, text)
""",
    ),
}


def show(name: str, url: str, prompts: list[str], row: Callable[[str, str, float, float], None], rounds: int) -> None:
    """Measure one peer and print its line, or why there is none."""
    what, requirements, setup = PEERS[name]
    try:
        python = _environment(name, requirements)
        done = subprocess.run(
            [python, "-c", _COMMON.format(setup=setup), url, str(rounds)],
            input=json.dumps(prompts),
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=True,
        )
        times = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        reason = next((line for line in reversed((error.stderr or "").splitlines()) if line.strip()), "no reason given")
        print(f"{what:<34}skipped: {reason[:120]}", flush=True)
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        print(f"{what:<34}skipped: {type(error).__name__}", flush=True)
    else:
        row("call, 4 KB", "plain SDK there", times["plain SDK"], times["plain SDK"])
        row("call, 4 KB", what[:24], times["peer"], times["plain SDK"])


def _environment(name: str, requirements: tuple[str, ...]) -> Path:
    folder = Path(tempfile.gettempdir()) / "safellm-benchmark-peers" / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=True)
        ready.touch()
    return python
