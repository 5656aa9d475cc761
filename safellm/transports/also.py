"""Refusals that are errors of an HTTP library too, for the middle of an answer, where no HTTP status can tell them any more."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache
from typing import Any

from safellm.errors import GuardFailure, Refused


def also(error: Refused, kind: type[Exception]) -> Refused:
    """Return a refusal that `except` finds by its own kind and by that of a library.

    Args:
        error: What a guard said.
        kind: The library's error for an answer that broke off.
    """
    joined: Any = _joined
    made: Refused = joined(GuardFailure if isinstance(error, GuardFailure) else Refused, kind)(
        error.what, guard=error.guard, reason=error.reason, remedy=error.remedy, status=error.status, sent=error.sent
    )
    return made


@cache
def _joined(own: Any, kind: Any) -> Any:
    return type(own.__name__, (own, kind), {"__module__": own.__module__, "__doc__": own.__doc__})
