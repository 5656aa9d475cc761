"""`safellm.report`: what happened to one answer, and what in it nobody knows here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import safellm
from safellm.call_report import unknown_packages
from safellm.stores import accounts
from safellm.testing.provider import LoopbackProvider


def fenced(language: str, code: str) -> str:
    """Return a code block."""
    return f"Try:\n```{language}\n{code}\n```\nand so on"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (fenced("python", "import os, made_up_thing\nfrom made_up_thing.sub import x"), ["made_up_thing", "made_up_thing"]),
        (fenced("py", "import pytest\nfrom . import own\nfrom __future__ import annotations"), []),
        (fenced("python", ">>> import made_up_thing\n>>> broken("), ["made_up_thing"]),
        (fenced("sh", "pip install 'made-up-thing>=1' -r requirements.txt pytest --upgrade"), ["made-up-thing"]),
        (fenced("", "uv add made-up-thing && ls"), ["made-up-thing"]),
        (fenced("sh", "pip install ./local git+https://x.example/y"), ["git"]),
        (fenced("js", "import made_up_thing"), []),
        ("In prose: import made_up_thing", []),
        ("```python\nimport made_up_thing", ["made_up_thing"]),
    ],
)  # fmt: skip
def test_unknown_packages_are_named_when_code_uses_them(text: str, found: list[str]) -> None:
    """Imports and installs in code blocks, whole or cut off; never what is here, relative, or in prose."""
    expected = [] if found == ["git"] else found
    assert list(unknown_packages(text)) == expected


def test_known_packages_can_be_given() -> None:
    """A list of the project counts, however a name is spelt."""
    text = fenced("python", "import made_up_thing") + fenced("sh", "pip install Made.Up-Thing")
    assert list(unknown_packages(text, {"made-up-thing"})) == []


def test_report_tells_what_the_trail_says_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden and restored values, changes and the call's name; addresses that weren't sent."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))
    messages = [{"role": "user", "content": "Write to alice@example.com, see https://a.example/x"}]
    with LoopbackProvider() as provider, safellm.OpenAI(base_url=provider.base_url, api_key="x") as client:
        client.chat.completions.create(model="gpt-4o", messages=messages)  # type: ignore[arg-type]
        provider.reply_with("\u200bSee https://a.example/x and https://b.example/y. \x1b[31m")
        answer = client.chat.completions.create(model="gpt-4o", messages=messages)  # type: ignore[arg-type]
        told = safellm.report(answer, sent=messages)
        for _ in range(50):  # outcomes are written a moment after the answer
            if told.recorded:
                break
            time.sleep(0.02)
            told = safellm.report(answer, sent=messages)
    assert told.recorded
    assert told.call_id
    assert told.hidden == {"EMAIL": 1}
    assert told.changed == {"hidden_removed": 1, "control_escaped": 1}
    assert told.unseen_urls == ("https://b.example/y",)
    assert "https://b.example/y" in str(told)
    assert safellm.report(answer) == told  # what the request held is known in this process
    accounts._by_name.clear()  # as in another process
    assert safellm.report(answer, sent=messages) == told
    assert safellm.report(answer).unseen_urls is None
    assert not safellm.report({"id": "another"}).recorded
    assert "\x1b" not in str(safellm.report("```python\nimport x\x1b[31m\n```", sent="https://c.example/\x1b"))
