"""The order of the guards of a request, written once. Egress is decided before anything is read.

What a guard can do to calls of one client to one endpoint is known before there is a call: the policy may have it off. Each says so
itself (`may_act`), and those that can't act aren't asked at each call.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from safellm._core.call import Call, RequestHead, Tools
from safellm._core.guards import (
    canary,
    ceiling,
    content,
    hidden_input,
    plugins,
    redaction,
    retention,
    tools,
    untrusted,
    uploads,
)

Guard: TypeAlias = Callable[[Call], None]
_KNOWN = "guards"


def _always(_: Tools) -> bool:
    return True


class Stage(NamedTuple):
    """One guard in its place.

    Attributes:
        name: As refusals and the documentation call it.
        guard: Looks at a call.
        may_act: Whether it can change, refuse or note anything in any call of a client; only what it says no to is left out.
    """

    name: str
    guard: Guard
    may_act: Callable[[Tools], bool] = _always


REQUEST: tuple[Stage, ...] = (
    Stage(content.NAME, content.guard, content.may_act),
    Stage(retention.NAME, retention.guard, retention.may_act),
    Stage(hidden_input.NAME, hidden_input.guard, hidden_input.may_act),
    Stage(uploads.NAME, uploads.guard),
    Stage(untrusted.NAME, untrusted.guard),
    Stage(tools.NAME, tools.guard),
    Stage(plugins.NAME, plugins.guard, plugins.may_act),
    Stage(redaction.NAME, redaction.guard),
    Stage(untrusted.NAME, untrusted.spotlight, untrusted.may_spotlight),
    Stage(plugins.NAME, plugins.sending, plugins.may_show),
    Stage(canary.NAME, canary.guard, canary.may_act),
    Stage(ceiling.NAME, ceiling.guard),
)


def acting(stages: tuple[Stage, ...], tools: Tools, head: RequestHead) -> tuple[Stage, ...]:
    """Return the guards that may act on the calls of a client, in their order; remembered with what is known of the head."""
    known: Any = head.known.get(_KNOWN)
    if known is None or known[0] is not tools or known[1] is not stages:
        left = tuple(one for one in stages if one.may_act(tools))
        known = head.known[_KNOWN] = (tools, stages, left)
    found: tuple[Stage, ...] = known[2]
    return found
