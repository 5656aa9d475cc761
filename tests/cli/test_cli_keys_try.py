"""`safellm keys test`: each provider is asked in its own way, at the bound address only, and its answer is told in one word."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from safellm._core.origin import parse_origin
from safellm._core.secret import Secret
from safellm.auto.targets import is_provider, own_origins
from safellm.cli import keys_found
from safellm.profiles import profiles
from safellm.stores.vault.interface import StoredKey
from safellm.testing.canary import sweep
from safellm.testing.http_server import Answer, Connection, LoopbackServer, SeenRequest

# Provider: path, header, what stands before the key in it.
QUESTIONS = {
    "openai": ("/v1/models", "authorization", "Bearer "),
    "openai-admin": ("/v1/models", "authorization", "Bearer "),
    "azure": ("/openai/models?api-version=2024-10-21", "api-key", ""),
    "anthropic": ("/v1/models?limit=1000", "x-api-key", ""),
    "anthropic-auth-token": ("/v1/models?limit=1000", "authorization", "Bearer "),
    "google": ("/v1beta/models?pageSize=1000", "x-goog-api-key", ""),
    "groq": ("/openai/v1/models", "authorization", "Bearer "),
    "mistral": ("/v1/models", "authorization", "Bearer "),
    "deepseek": ("/models", "authorization", "Bearer "),
    "openrouter": ("/api/v1/key", "authorization", "Bearer "),
    "cohere": ("/v1/models", "authorization", "Bearer "),
}


class Asked(LoopbackServer):
    """Answers a known key with two models, everything else as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.key = ""
        self.known, self.unknown, self.nameless = 200, 401, 401

    def serve(self, request: SeenRequest, connection: Connection) -> bool:
        values = [*request.headers.values()]
        if any(value.endswith(self.key) for value in values):
            status = self.known
        else:
            named = any(name in request.headers for name in ("authorization", "api-key", "x-api-key", "x-goog-api-key"))
            status = self.unknown if named else self.nameless
        body = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()
        head = (("content-type", "application/json"), ("content-length", str(len(body))))
        connection.send_answer(Answer(status=status, headers=head, body=body))
        return True


@pytest.fixture
def server() -> Iterator[Asked]:
    with Asked() as running:
        yield running


@pytest.fixture
def store(vault: Any, canary: str, server: Asked) -> Any:
    """Store the key of a provider, bound to the server of the test."""
    server.key = canary

    def put(name: str, provider: str, *, origin: str = "", secret: str = canary) -> None:
        origins = (parse_origin(origin or server.origin),)
        now = time.time_ns()
        vault.set(StoredKey(name=name, provider=provider, origins=origins, created_ns=now, secret=Secret(secret)))

    return put


@pytest.mark.parametrize("provider", sorted(QUESTIONS))
def test_each_question_is_known_in_strict_mode(
    safellm: Any, store: Any, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Strict mode refuses endpoints that no table names; asking about a key is none of them."""
    store("k", provider)
    monkeypatch.setenv("SAFELLM_MODE", "strict")
    done = safellm("keys", "test", "k", "--json")
    assert [one["result"] for one in json.loads(done.stdout)["results"]] == ["valid"], done.stdout


@pytest.mark.parametrize("provider", sorted(QUESTIONS))
def test_each_provider_is_asked_in_its_own_way(
    safellm: Any, store: Any, server: Asked, canary: str, provider: str
) -> None:
    """One GET with the key where this provider wants it, one without; the calls are recorded, and nothing shows the key."""
    store("mine", provider)
    result = safellm("keys", "test", "mine")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert result.stdout.startswith("valid ")
    assert "2 models" in result.stdout
    path, header, before = QUESTIONS[provider]
    asked, control = server.requests
    assert (asked.method, f"{asked.path}?{asked.query}".rstrip("?"), asked.body) == ("GET", path, b"")
    assert asked.headers[header] == before + canary
    assert sum(canary in value for value in asked.headers.values()) == 1
    assert canary.encode() not in control.head
    if provider.startswith("anthropic"):
        assert asked.headers["anthropic-version"]
    trail = safellm("audit", "tail")
    assert "call.outcome" in trail.stdout
    assert sweep(canary, texts=[result.stdout, result.stderr, trail.stdout]) == []


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "invalid"), (400, "invalid"), (403, "forbidden"), (404, "unclear"), (429, "unclear"), (503, "unclear")],
)
def test_an_answer_is_told_in_one_word(safellm: Any, store: Any, server: Asked, status: int, word: str) -> None:
    """Anything but success is exit code 1; the server's own text is not shown."""
    server.known = status
    store("mine", "openai")
    result = safellm("keys", "test", "mine", "--json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)["results"]
    assert (row["key"], row["origin"], row["result"]) == ("mine", server.origin, word)
    assert str(status) in row["what"]
    assert len(server.requests) == 1


def test_a_server_that_answers_anybody_says_nothing_about_a_key(safellm: Any, store: Any, server: Asked) -> None:
    """Its list of models is public, so a wrong key gets it as well."""
    server.unknown = server.nameless = 200
    store("mine", "nvidia", secret="a-key-that-nobody-knows")
    result = safellm("keys", "test", "mine")
    assert result.exit_code == 0
    assert result.stdout.startswith("open ")


def test_a_server_that_is_not_there_is_unreachable(safellm: Any, store: Any) -> None:
    """One line, exit code 1; an unknown name is exit code 2."""
    with LoopbackServer() as gone:
        origin = gone.origin
    store("mine", "openai", origin=origin)
    result = safellm("keys", "test", "mine")
    assert result.exit_code == 1
    assert result.stdout.startswith("unreachable ")
    assert safellm("keys", "test", "nobody").exit_code == 2


def test_the_question_goes_through_the_guarded_egress(
    safellm: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads to a metadata service is refused before anything is sent, as for every call."""
    import socket

    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **named: Any) -> Any:
        return real("169.254.169.254" if host == "llm.example" else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    store("mine", "openai", origin="https://llm.example")
    result = safellm("keys", "test", "mine")
    assert result.exit_code == 1
    assert result.stdout.startswith("refused ")
    assert "egress.address" in result.stdout.replace("\n", "")


def test_without_a_name_every_key_is_tested(safellm: Any, store: Any, server: Asked, canary: str) -> None:
    """One line for each; no key at all is exit code 1."""
    assert safellm("keys", "test").exit_code == 1
    store("one", "openai")
    store("two", "anthropic", secret=canary + "-another")
    result = safellm("keys", "test", "--json")
    assert result.exit_code == 1
    assert [(one["key"], one["result"]) for one in json.loads(result.stdout)["results"]] == [
        ("one", "valid"),
        ("two", "invalid"),
    ]


def test_a_name_of_a_provider_is_enough_to_store_its_key(safellm: Any, vault: Any, canary: str) -> None:
    """`keys set groq` binds to Groq under the name that the SDK's client looks for; Azure's address has to be said."""
    for name in ("groq", "anthropic", "google", "openai-admin"):
        assert safellm("keys", "set", name, "--stdin", stdin=canary).exit_code == 0
        assert vault.get(name).provider == name
    assert [str(one) for one in vault.get("groq").origins] == ["https://api.groq.com"]
    assert [str(one) for one in vault.get("anthropic").origins] == ["https://api.anthropic.com"]
    azure = safellm("keys", "set", "azure", "--stdin", stdin=canary)
    assert azure.exit_code == 2
    assert "--origin" in azure.stderr
    assert safellm("keys", "set", "team", "--stdin", stdin=canary).exit_code == 0
    assert vault.get("team").provider == "openai"


def test_every_imported_key_gets_the_name_that_clients_look_for() -> None:
    """Each variable of an SDK or a profile leads to a provider, and to addresses unless every customer has his own."""
    names = set(keys_found.variables().values())
    assert {"openai", "azure", "anthropic", "google", "groq", "mistral"} <= names
    assert {one.variable for one in profiles().values()} <= set(keys_found.variables())
    assert all(is_provider(name) for name in names)
    assert {name for name in names if not own_origins(name)} == {"azure", "anthropic-foundry", "bedrock"}


def test_import_stores_what_it_can_and_names_the_rest(
    safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key whose address nobody knows is left, with the command for it; exit code 1."""
    monkeypatch.setenv("GROQ_API_KEY", canary)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", canary + "-azure")
    result = safellm("keys", "import", "--yes")
    assert result.exit_code == 1, result.stderr
    assert vault.names() == ["groq"]
    assert "--variable AZURE_OPENAI_API_KEY --origin" in result.stdout.replace("\n", " ")
    both = safellm("keys", "import", "--yes", "--origin", "https://mine.openai.azure.com")
    assert both.exit_code == 2
    assert sweep(canary, texts=[result.stdout, both.stderr]) == []
