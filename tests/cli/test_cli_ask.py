"""`safellm ask`: questions to the loopback provider, through each SDK."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from safellm.testing.canary import sweep
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply

Command = Callable[..., Any]
MAIL = "jane.doe@corp-mail.org"


@pytest.fixture(autouse=True)
def key(home: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in OpenAI's variable, and no key store."""
    made = "sk-" + "proj-" + "A1b2C3d4E5" * 4
    monkeypatch.setenv("OPENAI_API_KEY", made)
    monkeypatch.setenv("SAFELLM_KEYS_VAULT", "false")
    return made


def test_question_and_pipe_are_asked_and_the_answer_has_the_values(
    safellm: Command, provider: LoopbackProvider
) -> None:
    """The provider sees a placeholder, standard output the answer alone, the strip what was hidden and what it cost."""
    asked = ("ask", "-m", "gpt-4o", "--base-url", provider.base_url, "--strip", "Who", "is it?")
    result = safellm(*asked, stdin=f"{MAIL}\n")
    assert result.stdout == f'You wrote: "Who is it?\n\n{MAIL}"\n'
    assert sweep(MAIL, texts=provider.received) == []
    assert "hidden from the provider: 1 EMAIL" in result.stderr
    assert "tokens" in result.stderr
    assert "$0.0" in result.stderr


def test_json_has_answer_and_figures(safellm: Command, provider: LoopbackProvider) -> None:
    """One document; its figures are the record's."""
    result = safellm("ask", "-m", "gpt-4o", "--base-url", provider.base_url, "--json", stdin=MAIL)
    made = json.loads(result.stdout)
    assert (made["answer"], made["hidden"], made["restored"]) == (f'You wrote: "{MAIL}"', {"EMAIL": 1}, 1)
    assert made["input_tokens"] > 0
    assert made["micro_usd"] > 0


def test_o_3_an_answer_cannot_drive_the_terminal(safellm: Command, provider: LoopbackProvider) -> None:
    """Control characters are printed as text, and the strip says so in words."""
    provider.reply_with(Reply(text="a\x1b]0;owned\x07b"))
    result = safellm("ask", "-m", "gpt-4o", "--base-url", provider.base_url, "--strip", stdin="hi")
    assert result.stdout == "a\\x1b]0;owned\\x07b\n"
    assert "control escaped" in result.stderr


def test_the_policy_names_the_usual_model(safellm: Command, provider: LoopbackProvider, monkeypatch: Any) -> None:
    """As does its variable; without one there is an error with the remedy."""
    refused = safellm("ask", "--base-url", provider.base_url, stdin="hi")
    assert (refused.exit_code, "--model" in refused.stderr) == (2, True)
    monkeypatch.setenv("SAFELLM_ASK_MODEL", "gpt-4o")
    assert safellm("ask", "--base-url", provider.base_url, stdin="hi").stdout == 'You wrote: "hi"\n'


def test_nothing_to_ask_is_an_error(safellm: Command) -> None:
    """No words and an empty pipe."""
    assert safellm("ask", "-m", "gpt-4o", stdin="").exit_code == 2


def test_a_provider_that_is_not_there_is_an_error_without_traceback(safellm: Command) -> None:
    """What the SDK says, where nobody answered, and a remedy."""
    result = safellm("ask", "-m", "x", "--base-url", "http://127.0.0.1:9", stdin="hi")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "There is no answer: Connection error (http://127.0.0.1:9)." in result.stderr


@pytest.mark.parametrize(("model", "sdk"), [("claude-sonnet-5-5", "anthropic"), ("gemini-2.5-flash", "google.genai")])
def test_the_model_s_name_chooses_the_sdk(home: Any, provider: LoopbackProvider, model: str, sdk: str) -> None:
    """Anthropic's and Google's models are asked through their own SDKs, with instructions and a ceiling."""
    try:
        found = importlib.util.find_spec(sdk)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{sdk} isn't installed")
    from safellm.asking import Asking, Question

    with pytest.MonkeyPatch.context() as patch:
        _point(patch, sdk, provider)
        asking = Asking(Question(text=f"mail {MAIL}", model=model, system="Be brief.", max_tokens=50))
        said = "".join(asking)
    assert said == f'You wrote: "mail {MAIL}"'
    assert asking.told.hidden == {"EMAIL": 1}
    assert sweep(MAIL, texts=provider.received) == []
    assert b"Be brief." in provider.requests[0].body
    assert b"50" in provider.requests[0].body


def _point(patch: pytest.MonkeyPatch, sdk: str, provider: LoopbackProvider) -> None:
    """Have the clients that are made call the loopback provider."""
    if sdk == "anthropic":
        from safellm import anthropic as module

        real = module.Anthropic
        patch.setattr(module, "Anthropic", lambda: real(base_url=provider.origin, api_key="given"))
        return
    from safellm.google import genai

    made = genai.Client
    patch.setattr(genai, "Client", lambda: made(api_key="given", http_options={"base_url": provider.origin}))


def test_completion_answers_a_shell(home: Any) -> None:
    """The printed script calls the command, which answers with the words that fit."""
    import os

    run = [sys.executable, "-m", "safellm.cli"]
    script = subprocess.run([*run, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    assert "_SAFELLM_COMPLETE=complete_bash" in script
    asks = os.environ | {"_SAFELLM_COMPLETE": "complete_bash", "COMP_WORDS": "safellm init --mode ", "COMP_CWORD": "3"}
    words = subprocess.run(run, capture_output=True, text=True, check=True, env=asks).stdout.split()
    assert words == ["guard", "strict", "observe"]
