"""The walk over the whole SDK, each method once, and the page that is written from it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mediation_sdk import SDK, is_one_of
from mediation_surface import Method, methods
from mediation_sweep import Report, Sweep, Wire


@cache
def installed() -> dict[str, SDK]:
    """Return the descriptions of the SDKs that are installed."""
    found = {}
    for name in ("openai", "anthropic"):
        if importlib.util.find_spec(name) is not None:
            found[name] = getattr(importlib.import_module(f"mediation_{name}"), name.upper())
    return found


@cache
def surface(sdk_name: str) -> tuple[Method, ...]:
    """Return every method of the installed SDK; nothing is called and nothing guarded here."""
    return tuple(methods(installed()[sdk_name].plain()))


class Walk:
    """A guarded client over a recording wire, and what each method did so far."""

    def __init__(self, home: Path, sdk: SDK, *, is_async: bool = False) -> None:
        wire = Wire(answer=lambda request: ("application/json", b"{}"), native=sdk.native)
        self.sdk = sdk
        self.wire = wire
        self.runner = asyncio.Runner() if is_async else None
        with pytest.MonkeyPatch.context() as patch:
            for name in [*os.environ]:
                if name.startswith(("OPENAI_", "ANTHROPIC_", "SAFELLM_")):
                    patch.delenv(name)
            patch.setenv("SAFELLM_HOME", str(home))
            patch.setenv("SAFELLM_KEYS_VAULT", "false")
            if is_async:
                http = sdk.native.AsyncClient(transport=wire.async_transport())
                self.client: Any = sdk.make_async(http)
            else:
                http = sdk.native.Client(transport=wire.transport())
                self.client = sdk.sync(http)
        self._http = http
        self.sweep = Sweep(sdk=sdk, client=self.client, wire=wire, is_async=is_async, runner=self.runner)
        self.sweep.attach()
        self._reports: dict[tuple[str, bool], Report] = {}

    def report(self, method: Method, *, stream: bool = False, rows: int | None = None) -> Report:
        """Return what a method does; it is called the first time only."""
        key = (method.path, stream)
        if key not in self._reports:
            call = method_of(self.client, method.path)
            given = dict(self.sdk.given.get(method.path, {}))
            if stream or rows == 1:
                given |= self.sdk.lean.get(method.path, {})
            self._reports[key] = self.sweep.run(call, given, stream=stream, rows=1 if stream else rows)
        return self._reports[key]

    def close(self) -> None:
        """Close the HTTP client."""
        if self.runner is None:
            self._http.close()
        else:
            self.runner.run(self._http.aclose())
            self.runner.close()


def method_of(client: Any, path: str) -> Method:
    """Return a client's method by its path."""
    made = client
    for name in path.split("."):
        made = getattr(made, name)
    return Method(path=path, call=made)


# -- the page ----------------------------------------------------------------------------------------------------------

HEAD = """# Complete mediation{title}

Every public method of `{name}` {pinned}, called through the guard with a secret and a mail address in every place that takes a
string, and answered with a terminal control, a hidden character and a placeholder in every text. This page is written by
`python tests/mediation/mediation_walk.py{argument}` from what really passed, and a test compares the two.

* **sent**: places for strings that were filled and searched, then those of them where something may pass by design.
* **back**: texts of the answer that came back clean, then those of them where by design a placeholder stays one.
* **passes**: *names* (identifiers, addresses and words of the provider: only secrets are hidden there), *accounts*
  (whose account an administrative call is about, such as who is invited: only secrets are hidden there), *credentials* (of remote
  tools, which the provider needs), *signed* (by the provider; one changed byte breaks the next turn), *tool input* (goes to a
  program: neither cleaned nor restored undeclared), *bytes* (a download, handed on as it comes).

In the URL a secret is refused on every endpoint; a mail address in a filter passes, because the provider has to understand it.
Headers that the program fills (`idempotency_key`, `extra_headers`, `default_headers`) are searched like a body; in the provider's
own (`OpenAI-*`, `Anthropic-*`) only secrets are hidden. Not searched are headers whose name says that a credential belongs there
(`Helicone-Auth`, `X-Api-Key`): that is between the program and its gateway. Nor are those that SDKs and HTTP libraries write
themselves (`Accept`, `Content-Type`, `X-Stainless-*`, `X-Goog-*`, `X-Amz-*`).

"""


def page(walk: Walk, found: tuple[Method, ...]) -> str:
    """Return the page."""
    sdk = walk.sdk
    by_route: dict[str, list[tuple[Method, Report, Report | None]]] = defaultdict(list)
    sockets, local = [], []
    for method in found:
        if method.path in sdk.local:
            local.append(method.path)
        elif method.name == "connect":
            sockets.append(method.path)
        else:
            plain = walk.report(method)
            streamed = walk.report(method, stream=True) if method.streams else None
            for verb, path in plain.routes:
                by_route[f"{sdk.find_route(verb, path).template} {verb}"].append((method, plain, streamed))
    lines = [
        f"{len(found)} methods, {len(by_route)} endpoints, {len(sockets)} websocket connections, {len(local)} local.\n",
        "| Endpoint | Methods | sent | back | stream | passes |",
        "|---|---|---|---|---|---|",
        *(_line(sdk, name, by_route[name]) for name in sorted(by_route)),
        "",
    ]
    guarded = [one for one in sockets if one in sdk.guarded_sockets]
    refused = [one for one in sockets if one not in sdk.guarded_sockets]
    if guarded:
        names = ", ".join(f"`{one}`" for one in guarded)
        lines.append(f"Websockets that are guarded event by event ([websockets](websockets.md)): {names}.\n")
    if refused:
        lines.append("Refused, because they have no guard yet: " + ", ".join(f"`{one}`" for one in refused) + ".\n")
    lines.append("Without a request of their own: " + "; ".join(f"`{one}` {sdk.local[one]}" for one in local) + ".")
    default = sdk.name == "openai"
    head = HEAD.format(
        title="" if default else f": `{sdk.name}`",
        name=sdk.name,
        pinned=sdk.pinned,
        argument="" if default else f" {sdk.name}",
    )
    return head + "\n".join(lines) + "\n"


def _line(sdk: SDK, name: str, entries: list[tuple[Method, Report, Report | None]]) -> str:
    template, verb = name.split(" ")
    own = [entry for entry in entries if len(entry[1].routes) == 1] or entries
    sent = set().union(*(plain.sent_places for _, plain, _ in own))
    back = set().union(*(plain.answer_places for _, plain, _ in own))
    passed = {place for _, plain, _ in own for what, where, place in plain.leaks if sdk.may_leave(what, where, place)}
    wrong = {place for _, plain, streamed in own for one in (plain, streamed) if one for _, place in one.wrong}
    notes = []
    others = (sdk.accounts, sdk.credentials, sdk.opaque)
    if any(is_one_of(place, sdk.named) or not is_one_of(place, *others) for place in passed):
        notes.append("names")
    for text, rules in zip(("accounts", "credentials", "signed"), others, strict=True):
        if any(is_one_of(place, rules) for place in passed):
            notes.append(text)
    if any(is_one_of(place, sdk.tool_input) for place in wrong):
        notes.append("tool input")
    if any("Binary" in cast for _, plain, _ in own for cast in plain.casts):
        notes.append("bytes")
    names = ", ".join(dict.fromkeys(f"`{method.path}`" for method, _, _ in entries))
    stream = "yes" if any(streamed is not None and streamed.streams for _, _, streamed in entries) else ""
    counted = f"{len(sent)} ({len(passed)})" if passed else str(len(sent) or "")
    kept = {place for _, plain, _ in own for _, place in plain.wrong}
    came = f"{len(back)} ({len(kept)})" if kept else str(len(back) or "")
    return f"| {verb} {template} | {names} | {counted} | {came} | {stream} | {', '.join(notes)} |"


if __name__ == "__main__":
    import tempfile

    wanted = installed()[sys.argv[1] if len(sys.argv) > 1 else "openai"]
    if not wanted.is_pinned:
        sys.exit(f"the page is for {wanted.name} {wanted.pinned}; this is {wanted.version}")
    whole = Walk(Path(tempfile.mkdtemp()), wanted)
    wanted.page.write_text(page(whole, surface(wanted.name)), "utf-8")
    whole.close()
