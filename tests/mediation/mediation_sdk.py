"""What the walk has to know of an SDK: how to make its clients, what may pass and why, and what some methods must be given."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from safellm._core.adapter import Route

Rules = tuple[
    tuple[str, str], ...
]  # (place, reason); a place is matched at its end, `[]` and `.*` are items of lists and maps
ROOT = Path(__file__).parents[2]

# The walk plants its marks in the names of tools too: they look alike, and answers call what nobody declared. What becomes of such
# calls is tried where tools are; here they must get as far as all other texts.
MARKED_NAMES = {"tool_calls.look_alikes": "allow", "tool_calls.undeclared": "allow"}


@dataclass(frozen=True, kw_only=True)
class SDK:
    """One SDK, described.

    Attributes:
        name: As it is imported.
        version: Of the installed one.
        pinned: The version that the page is written for.
        size: Methods and resources of that version.
        page: Where the table stands.
        native: The HTTP library that it speaks.
        error: What it raises for an answer that is an error.
        sync, make_async: Make a guarded client over an HTTP client.
        plain: Makes a client without a guard; nothing is sent with it.
        find_route: The adapter's table.
        endpoints: The adapter's endpoints, "METHOD /template".
        older: Endpoints that only older SDKs call.
        local: Methods that make no request, and why. Anything else that makes none is a hole in the walk.
        given: Arguments by method; None leaves a parameter out: two exclude each other, or the SDK wants an object of its own.
        lean: Arguments that replace those of `given` when a method is walked again (streamed, async), where all is tried already.
        helpers: Methods of the SDK's own that stumble over made-up answers: they keep a state. Their requests count.
        polling: Parts of names of methods that ask until an answer says that all is done.
        unstreamed: Names of methods that take the word `stream` and don't stream.
        no_files: Places of binary content that takes a text as well: only the text is tried.
        fixed: Values by name that an answer must hold for the SDK to go on.
        credentials, opaque, headers, named, accounts, tool_input, tokens: Places where something may pass, and why.
        samples: Methods that together show that the walk is no empty one.
        doors: Public methods of the client itself that are tested one by one.
        guarded_sockets: `connect` methods whose websockets are guarded; their events have tests of their own. Others are refused.
        async_only: Helpers that only the async client has; they call methods that are walked.
    """

    name: str
    version: str
    pinned: str
    size: tuple[int, int]
    page: Path
    native: ModuleType
    error: type[Exception]
    sync: Callable[..., Any]
    make_async: Callable[..., Any]
    plain: Callable[[], Any]
    find_route: Callable[[str, str], Route]
    endpoints: frozenset[tuple[str, str]]
    older: frozenset[tuple[str, str]] = frozenset()
    local: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lean: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    helpers: tuple[str, ...] = ()
    polling: tuple[str, ...] = ()
    unstreamed: tuple[str, ...] = ()
    no_files: str = "$^"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    credentials: Rules = ()
    opaque: Rules = ()
    headers: Rules = ()
    named: Rules = ()
    accounts: Rules = ()
    tool_input: Rules = ()
    tokens: Rules = ()
    samples: tuple[str, ...] = ()
    doors: frozenset[str] = frozenset()
    guarded_sockets: frozenset[str] = frozenset()
    async_only: frozenset[str] = frozenset()

    @property
    def is_pinned(self) -> bool:
        """Whether the installed version is the one that the page is written for."""
        return self.version == self.pinned

    def polls(self, name: str) -> bool:
        """Return whether a method asks until something is done."""
        return any(part in name for part in self.polling)

    def may_leave(self, what: str, where: str, place: str) -> bool:
        """Return whether a marked value may have reached the wire."""
        if where == "header":
            return is_one_of(place, self.headers)
        if what == "mail":
            # A filter or a page mark in the URL has to be understood by the provider; a secret there is refused.
            return where in ("url", "body:open") or is_one_of(
                place, self.named, self.accounts, self.credentials, self.opaque
            )
        return is_one_of(place, self.credentials, self.opaque)

    def may_come(self, what: str, place: str) -> bool:
        """Return whether a marked text of an answer may have reached the program like this."""
        if what == "raw":
            return is_one_of(place, self.tool_input, self.opaque, self.credentials)
        if what == "not restored":
            return place.endswith("?") or is_one_of(
                place, self.named, self.tool_input, self.opaque, self.credentials, self.tokens
            )
        return what == "in url" and is_one_of(place, self.opaque)


def is_one_of(place: str, *lists: Rules) -> bool:
    """Return whether a place is on one of the lists."""
    return any(re.search(f"(?:{pattern})$", place) for one in lists for pattern, _ in one)
