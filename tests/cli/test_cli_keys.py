"""`safellm keys`: stored with their origins, never shown, every change recorded."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safellm._core.origin import parse_origin
from safellm.testing.canary import sweep


def sweep_result(secret: str, *results: Any) -> list[str]:
    """Return where a secret stands in what commands printed."""
    return sweep(secret, texts=[text for result in results for text in (result.stdout, result.stderr)])


def test_k_11_set_from_a_pipe_binds_and_records(safellm: Any, vault: Any, canary: str) -> None:
    """The key is stored with the given origins; the binding is in the trail; nothing that is printed holds the key."""
    stored = safellm("keys", "set", "mine", "--origin", "https://llm.example:8443", "--stdin", stdin=canary + "\n")
    assert stored.exit_code == 0, stored.stderr
    assert vault.get("mine").secret.reveal() == canary
    assert vault.get("mine").origins == (parse_origin("https://llm.example:8443"),)
    listed, trail = safellm("keys", "list"), safellm("audit", "tail")
    assert "https://llm.example:8443" in listed.stdout
    assert "key.bind" in trail.stdout
    assert sweep_result(canary, stored, listed, safellm("keys", "list", "--json"), trail) == []


def test_set_uses_the_providers_own_origin(safellm: Any, vault: Any, canary: str) -> None:
    """Without `--origin` a key of openai goes to openai; for another provider an origin must be given."""
    assert safellm("keys", "set", "openai", "--stdin", stdin=canary).exit_code == 0
    assert [str(one) for one in vault.get("openai").origins] == ["https://api.openai.com"]
    other = safellm("keys", "set", "other", "--provider", "acme", "--stdin", stdin=canary)
    assert other.exit_code == 2
    assert "--origin" in other.stderr
    assert vault.get("other") is None


def test_set_takes_no_key_as_an_argument(safellm: Any, vault: Any, canary: str) -> None:
    """A second argument is wrong use, and so is no terminal without `--stdin`; the remedy names the pipe."""
    assert safellm("keys", "set", "openai", "value").exit_code == 2
    alone = safellm("keys", "set", "openai", stdin=canary)
    assert alone.exit_code == 2
    assert "--stdin" in alone.stderr
    assert vault.get("openai") is None


def test_k_11_set_replaces_only_when_told(safellm: Any, vault: Any, canary: str) -> None:
    """A key that is there stays, with its binding, unless `--yes` is given."""
    assert safellm("keys", "set", "openai", "--stdin", stdin=canary).exit_code == 0
    again = ("keys", "set", "openai", "--origin", "https://elsewhere.example", "--stdin")
    assert safellm(*again, stdin="another-key-1234").exit_code == 2
    assert vault.get("openai").secret.reveal() == canary
    assert safellm(*again, "--yes", stdin="another-key-1234").exit_code == 0
    assert [str(one) for one in vault.get("openai").origins] == ["https://elsewhere.example"]


@pytest.mark.parametrize("text", ["", "\n", "two words here", "tab\there-and-more"])
def test_set_refuses_what_is_no_key(safellm: Any, vault: Any, text: str) -> None:
    """An empty or malformed key is wrong use and nothing is stored."""
    assert safellm("keys", "set", "openai", "--stdin", stdin=text).exit_code == 2
    assert vault.names() == []


def test_import_stores_and_says_what_to_unset(
    safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable's key is stored; the text shows its end only and the command that unsets the variable."""
    monkeypatch.setenv("OPENAI_API_KEY", canary)
    result = safellm("keys", "import")
    assert result.exit_code == 0, result.stderr
    assert vault.get("openai").secret.reveal() == canary
    assert canary[-4:] in result.stdout
    assert "unset OPENAI_API_KEY" in result.stdout
    assert sweep_result(canary, result) == []


def test_import_without_a_variable_is_wrong_use(safellm: Any, vault: Any) -> None:
    """Nothing to import: exit 2 and the names that were looked for."""
    result = safellm("keys", "import")
    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.stderr


def test_e_1_import_takes_no_azure_address_from_a_variable(
    safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Azure key needs its origin said by the person."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", canary)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://evil.openai.azure.com")
    assert safellm("keys", "import").exit_code == 2
    assert vault.names() == []
    assert safellm("keys", "import", "--origin", "https://mine.openai.azure.com").exit_code == 0
    assert [str(one) for one in vault.get("openai").origins] == ["https://mine.openai.azure.com"]


def test_list_shows_names_origins_and_age(safellm: Any, vault: Any, canary: str) -> None:
    """Nothing stored is said; afterwards each key is a row, also in JSON."""
    assert "No keys" in safellm("keys", "list").stdout
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    said = json.loads(safellm("keys", "list", "--json").stdout)
    assert said["keys"][0]["name"] == "openai"
    assert said["keys"][0]["origins"] == ["https://api.openai.com"]
    assert said["keys"][0]["created"].endswith("Z")


def test_remove_removes_and_records(safellm: Any, vault: Any, canary: str) -> None:
    """Removing tells, and is in the trail; removing nothing is exit code 1."""
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    assert safellm("keys", "remove", "openai").exit_code == 0
    assert vault.get("openai") is None
    assert "key.remove" in safellm("audit", "tail").stdout
    assert safellm("keys", "remove", "openai").exit_code == 1


def test_test_sends_the_key_to_its_origin_only(safellm: Any, vault: Any, canary: str, provider: Any) -> None:
    """The bound server gets one GET for its models with the key; the call is guarded and recorded."""
    safellm("keys", "set", "local", "--origin", provider.origin, "--stdin", stdin=canary)
    result = safellm("keys", "test", "local")
    assert result.exit_code == 0, result.stdout
    assert "6 models" in result.stdout
    (request,) = provider.requests
    assert (request.method, request.path) == ("GET", "/v1/models")
    assert request.headers["authorization"] == f"Bearer {canary}"
    assert sweep_result(canary, result) == []
    assert "call.outcome" in safellm("audit", "tail").stdout


def test_test_says_what_went_wrong(safellm: Any, vault: Any, canary: str) -> None:
    """A server that doesn't know the key, and one that isn't there: exit 1 and one line each; no name: exit 2."""
    from safellm.testing.provider import LoopbackProvider

    with LoopbackProvider(api_key="another") as strange:
        safellm("keys", "set", "strange", "--origin", strange.origin, "--stdin", stdin=canary)
        result = safellm("keys", "test", "strange", "--json")
        assert result.exit_code == 1
        assert "401" in json.loads(result.stdout)["results"][0]["what"]
    gone = safellm("keys", "test", "strange")
    assert gone.exit_code == 1
    assert "could not be reached" in gone.stdout
    assert safellm("keys", "test", "nobody").exit_code == 2


def test_every_command_works_without_a_key_store(safellm: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no key store the remedy is printed and the exit code is 2, without a traceback."""
    from safellm.stores.vault import backends

    monkeypatch.setattr(backends, "allowed_kinds", lambda *_, **__: ())
    result = safellm("keys", "list")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
