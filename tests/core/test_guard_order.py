"""Which guards are asked at a call: all that may act under the client's policy, in their order, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from exchanges import ORIGIN, World, chat

from safellm._core.call import RequestHead, Tools
from safellm._core.effects import Refuse
from safellm._core.guards import canary, content, hidden_input, plugins, retention, untrusted
from safellm._core.guards.order import REQUEST, Guard, Stage, acting
from safellm.errors import Reason


def tools_of(settings: Mapping[str, Any], *guards: Any) -> Tools:
    """Return the tools of a client with a policy and guards of its own."""
    return replace(World(settings).exchange()._tools, guards=guards)


def head() -> RequestHead:
    """Return the head of a request."""
    return RequestHead(method="POST", origin=ORIGIN, path="/v1/chat/completions", query="", headers=())


def asked(tools: Tools, of: RequestHead | None = None) -> list[Guard]:
    """Return the guards that are asked."""
    return [stage.guard for stage in acting(REQUEST, tools, of or head())]


QUIET: dict[str, Any] = {
    "retention": "provider",
    "input": {"hidden_characters": "pass"},
    "content": {"binary": "pass", "documents": "pass"},
    "untrusted": {"spotlight": "off"},
}


@pytest.mark.parametrize(
    ("settings", "guard"),
    [
        ({"retention": "none"}, retention.guard),
        ({"input": {"hidden_characters": "remove"}}, hidden_input.guard),
        ({"content": {"binary": "deny", "documents": "pass"}}, content.guard),
        ({"content": {"binary": "pass", "documents": "secrets"}}, content.guard),
        ({"content": {"binary": "pass", "documents": "refuse"}}, content.guard),
        ({"mode": "strict"}, content.guard),
        ({"untrusted": {"spotlight": "mark"}}, untrusted.spotlight),
    ],
)
def test_guard_is_asked_when_its_setting_is_on(settings: dict[str, Any], guard: Guard) -> None:
    """One setting brings in one guard, in its place; without it that guard isn't asked."""
    without, having = asked(tools_of(QUIET)), asked(tools_of({**QUIET, **settings}))
    assert guard not in without
    assert guard in having
    order = [stage.guard for stage in REQUEST]
    assert having == sorted(having, key=order.index)
    assert set(without) < set(having)


def test_plugins_are_asked_when_there_are_any() -> None:
    """Guards of plug-ins come in where there are some, and are shown what is sent where one asks for that."""
    looks = SimpleNamespace(sees_sending=False, sees_done=False)
    tells = SimpleNamespace(sees_sending=False, sees_done=True)
    shown = SimpleNamespace(sees_sending=True, sees_done=False)
    both = {plugins.guard, plugins.sending}
    assert both.isdisjoint(asked(tools_of({})))
    assert both.intersection(asked(tools_of({}, looks))) == {plugins.guard}
    assert both <= set(asked(tools_of({}, looks, tells)))
    assert both <= set(asked(tools_of({}, shown)))


def test_nothing_is_planted_where_the_policy_only_observes() -> None:
    """What would change a request isn't asked in `observe`; what finds something is."""
    observing = asked(tools_of({"mode": "observe", "untrusted": {"spotlight": "mark"}, "retention": "none"}))
    assert canary.guard not in observing
    assert untrusted.spotlight not in observing
    assert retention.guard in observing


def test_most_guards_are_always_asked() -> None:
    """A policy that has everything off leaves those that look for what nobody set."""
    names = [stage.name for stage in acting(REQUEST, tools_of(QUIET), head())]
    assert names == ["uploads", "untrusted", "tools", "redaction", "echo", "ceiling"]


def test_what_is_known_of_a_head_is_no_other_clients() -> None:
    """Two clients with different policies may share what is known of a head: each asks its own guards, in any order."""
    shared, loose, tight = head(), tools_of(QUIET), tools_of({**QUIET, "retention": "none"})
    for _ in range(2):
        assert retention.guard not in asked(loose, shared)
        assert retention.guard in asked(tight, shared)


def test_p_8_guard_that_cannot_say_whether_it_acts_stops_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the question itself breaks, nothing is sent."""
    from safellm._core import exchange

    def breaks(_: Tools) -> bool:
        raise RuntimeError("secret text")

    monkeypatch.setattr(exchange, "REQUEST", (*REQUEST, Stage("broken", lambda _: None, breaks)))
    world = World()
    _, decision = world.begin(chat("hello"))
    assert isinstance(decision, Refuse)
    assert decision.error.reason is Reason.GUARD_ERROR
    assert "secret text" not in str(decision.error)
    assert world.names == ["policy.deny"]
