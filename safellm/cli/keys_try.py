"""`safellm keys test`: does the provider know this key? One GET that costs nothing, through the guards, to the bound address.

Many servers list their models to anybody, so an answer alone says nothing about a key: where the server answers the same
request without one, the result is `open`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from safellm.cli.keys_shared import Store, find_key, open_store
from safellm.cli.show import PROBLEM, AsJson, cell, make_console, print_json, say
from safellm.cli.world import World, look
from safellm.errors import Refused

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm.auto.targets import Target
    from safellm.stores.vault.interface import StoredKey

_TIMEOUT_S: Final = 15.0
_AZURE: Final = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_TOKENS: Final = frozenset({"anthropic-auth-token"})


class Result(StrEnum):
    """What became of one question."""

    VALID = "valid"  # answered, and not answered without the key
    OPEN = "open"  # answered without the key as well: nothing is known about it
    INVALID = "invalid"
    FORBIDDEN = "forbidden"  # known, and not allowed to ask this
    UNREACHABLE = "unreachable"
    UNCLEAR = "unclear"
    REFUSED = "refused"  # by a guard of ours, before anything was sent
    UNASKED = "unasked"  # the address has no such question

    @property
    def is_fine(self) -> bool:
        """Whether nothing speaks against the key."""
        return self in (Result.VALID, Result.OPEN, Result.UNASKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The cheapest request that a provider answers to known keys only.

    Attributes:
        path: With its query.
        header: That carries the key.
        prefix: Before the key in the header.
        more: Headers that the provider demands.
    """

    path: str
    header: str = "authorization"
    prefix: str = "Bearer "
    more: tuple[tuple[str, str], ...] = ()


def try_(
    names: Annotated[list[str] | None, typer.Argument(help="Names of keys. Default: all that are stored.")] = None,
    *,
    store: Store = None,
    json: AsJson = False,
) -> None:
    """Ask each bound address whether it knows the key; costs nothing.

    The calls pass the guards and are recorded. Results: valid, open (the server answers without a key too), invalid, forbidden,
    unreachable, unclear, refused. Exit code 1: one is neither valid nor open.
    """
    world = look()
    if not names:
        vault = open_store(world, store)
        names = vault.names()
        if not names:
            say(f"No keys in {vault.label}. Store one: safellm keys set openai")
            raise typer.Exit(PROBLEM)
    keys = [find_key(world, name, store)[0] for name in dict.fromkeys(names)]
    console = make_console()
    rows: list[tuple[StoredKey, Origin, Result, str]] = []
    for key in keys:
        for origin in key.origins:
            result, what = ask(world, key, origin)
            rows.append((key, origin, result, what))
            if not json:
                style = "" if result.is_fine else "red"
                console.print(cell(f"{result:<11} {key.name} at {origin}: {what}", style), soft_wrap=True)
    if json:
        results = [
            {"key": key.name, "origin": str(origin), "result": result.value, "what": what}
            for key, origin, result, what in rows
        ]
        print_json({"results": results})
    if not all(result.is_fine for _, _, result, _ in rows):
        raise typer.Exit(PROBLEM)


def ask(world: World, key: StoredKey, origin: Origin) -> tuple[Result, str]:
    """Return what one address says to a key, and that in a few words; never the server's own.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from safellm.auto.targets import target_named

    target = target_named(key.provider, origin)
    question = _question(key.provider, target, origin)
    if question is None:
        return Result.UNASKED, "there is nothing here that a key could be tested with for nothing"
    try:
        status, count = _get(world, key, origin, target, question, with_key=True)
        if _is_success(status):
            without, _ = _get(world, key, origin, target, question, with_key=False)
            if _is_success(without):
                return Result.OPEN, "the server answers without a key as well, so nothing is known about this one"
    except Refused as error:
        return Result.REFUSED, f"{error.what} [{error.reason}]"
    except _Unreachable as error:
        return Result.UNREACHABLE, str(error)
    return _meaning(status, count)


def _meaning(status: int, models: int | None) -> tuple[Result, str]:
    if _is_success(status):
        return Result.VALID, "the server knows this key" + ("" if models is None else f"; {models} models")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.BAD_REQUEST):  # Google and xAI say 400 to a key they don't know
        return Result.INVALID, f"the server does not know this key ({status})"
    if status == HTTPStatus.FORBIDDEN:
        return Result.FORBIDDEN, "the server knows this key and doesn't let it ask (403): its rights, or this place"
    return Result.UNCLEAR, f"the server answered {status}"


def _is_success(status: int) -> bool:
    return status // 100 == HTTPStatus.OK // 100


class _Unreachable(Exception):
    """Nobody answered."""


def _get(  # noqa: PLR0913 - the parts of one request
    world: World, key: StoredKey, origin: Origin, target: Target, question: Question, *, with_key: bool
) -> tuple[int, int | None]:
    """Send the question; return the status, and how many models were listed.

    Raises:
        Refused: by a guard.
        _Unreachable: nobody answered.
    """
    from safellm._version import __version__
    from safellm.auto.gate import load_adapter
    from safellm.client import Setup
    from safellm.stores.vault.open import ResolvedKey
    from safellm.transports.http import REFUSAL, guard_client
    from safellm.transports.network import http_module

    module = http_module()
    setup = Setup(
        adapter=load_adapter(target), policy=world.policy, environ=world.environ, sdk=f"safellm keys {__version__}"
    )
    placeholder = setup.hold(ResolvedKey(ref=f"vault:{key.name}", secret=key.secret, origins=key.origins))
    driver = setup.driver(origin, in_code=False, native=lambda error, _: error)
    headers = dict(question.more)
    if with_key:
        headers[question.header] = question.prefix + placeholder
    with module.Client(timeout=_TIMEOUT_S) as client:
        guard_client(client, driver, own=True)
        try:
            response = client.get(f"{origin}{question.path}", headers=headers)
        except module.TimeoutException:
            raise _Unreachable(f"no answer within {_TIMEOUT_S:g} s") from None
        except module.TransportError as error:
            raise _Unreachable(f"the server could not be reached ({type(error).__name__})") from None
    refusal = response.extensions.get(REFUSAL)
    if isinstance(refusal, Refused):
        raise refusal
    return int(response.status_code), _count(response)


def _count(response: Any) -> int | None:
    try:
        listed = response.json()
    except ValueError:
        return None
    found = listed.get("data", listed.get("models")) if isinstance(listed, dict) else None
    return len(found) if isinstance(found, list) else None


def _question(provider: str, target: Target, origin: Origin) -> Question | None:
    """Return what to ask, or None where nothing is known that costs nothing.

    Sources: the providers' references of their REST interfaces: "List models" (OpenAI, Anthropic, Gemini, Azure OpenAI), "Get
    current API key" (OpenRouter).
    """
    if target.profile is not None:
        return Question(path=target.profile.check)
    if target.dialect.name == "anthropic":
        version = (("anthropic-version", "2023-06-01"),)
        question = Question(path="/v1/models?limit=1000", header="x-api-key", prefix="", more=version)
        return replace(question, header="authorization", prefix="Bearer ") if provider in _TOKENS else question
    if target.dialect.name == "google":
        has_lists = not origin.host.endswith("aiplatform.googleapis.com")  # whose lists take no keys
        return Question(path="/v1beta/models?pageSize=1000", header="x-goog-api-key", prefix="") if has_lists else None
    if origin.host.endswith(_AZURE) or provider == "azure":
        return Question(path="/openai/models?api-version=2024-10-21", header="api-key", prefix="")
    return Question(path="/v1/models")
