"""A key that comes from a variable: not for child processes, and only where the policy takes keys from there (THREATS K.5)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from safellm.errors import ConfigurationError
from safellm.stores import environment
from safellm.testing.provider import LoopbackProvider

KEY = "sk-" + "A1b2C3d4E5" * 4
SDKS = {
    "openai": ("safellm.openai", "OpenAI", "OPENAI_API_KEY"),
    "anthropic": ("safellm.anthropic", "Anthropic", "ANTHROPIC_API_KEY"),
    "google": ("safellm.google.genai", "Client", "GEMINI_API_KEY"),
}
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What was taken out of the environment is kept for later clients of the process: not for those of other tests."""
    yield
    environment._taken.clear()


@pytest.fixture(params=sorted(SDKS))
def sdk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """Return what makes a guarded client, and the variable of its key, which is set."""
    module, name, variable = SDKS[request.param]
    needs = {"google": "google.genai"}.get(request.param, request.param)
    try:
        found = importlib.util.find_spec(needs)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv(variable, KEY)
    return getattr(importlib.import_module(module), name), variable


def child_sees() -> bool:
    """Ask a child process for its variables."""
    program = "import os; print(dict(os.environ))"
    return KEY in subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_k_5_a_child_process_sees_nothing_of_a_key_that_was_read(sdk: tuple[Any, str]) -> None:
    """The variable is gone once a client is made; without the setting it is inherited, which is what the test would find."""
    make, variable = sdk
    assert child_sees(), "control"
    make().close()
    assert child_sees(), "the default leaves the environment as it is"
    make(safellm={"keys.clear_environment": True}).close()
    assert variable not in os.environ
    assert not child_sees()


def test_k_5_clients_that_are_made_later_still_have_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept in this process, where the first client found it; the provider gets it."""
    import safellm

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LoopbackProvider(api_key=KEY) as provider:
        for _ in range(2):
            settings = {"keys.clear_environment": True}
            with safellm.OpenAI(base_url=provider.base_url, safellm=settings) as client:
                client.models.list()
        assert [one.headers["authorization"] for one in provider.requests] == [f"Bearer {KEY}"] * 2
    assert not child_sees()


@pytest.mark.parametrize("settings", [{"mode": "strict"}, {"keys.environment": False}], ids=["strict", "policy"])
def test_k_5_a_variable_is_no_place_for_a_key_where_the_policy_says_so(
    sdk: tuple[Any, str], settings: dict[str, Any]
) -> None:
    """No client is made; the error names the variable and the way into the vault, never the key."""
    make, variable = sdk
    with pytest.raises(ConfigurationError) as caught:
        make(safellm=settings)
    text = f"{caught.value} {caught.value.remedy} {caught.value.where}"
    assert variable in text
    assert "safellm keys import" in text
    assert KEY not in text
