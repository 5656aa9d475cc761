"""The walk over the whole SDK, each method once, and the page that is written from it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from mediation_rules import CREDENTIALS, GIVEN, LOCAL, NAMED, OPAQUE, TOOL_INPUT, is_one_of, may_leave
from mediation_surface import VERSION, Method, methods
from mediation_sweep import NATIVE, Report, Sweep, Wire

import openai
import safellm
from safellm_openai.endpoints import find_route

PINNED = "3.54.0"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mediation.md"


def surface() -> list[Method]:
    """Return every method of the installed SDK; nothing is called and nothing guarded here."""
    return list(methods(openai.OpenAI(api_key="none", http_client=NATIVE.Client())))


class Walk:
    """A guarded client over a recording wire, and what each method did so far."""

    def __init__(self, home: Path, *, is_async: bool = False) -> None:
        wire = Wire(answer=lambda request: ("application/json", b"{}"))
        self.wire = wire
        self.runner = asyncio.Runner() if is_async else None
        options: dict[str, Any] = {"api_key": "given", "max_retries": 0, "base_url": "https://api.openai.com/v1"}
        if "admin_api_key" in openai.OpenAI.__init__.__annotations__:
            options["admin_api_key"] = "given"
        with pytest.MonkeyPatch.context() as patch:
            for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SAFELLM_POLICY", "SAFELLM_MODE"):
                patch.delenv(name, raising=False)
            patch.setenv("SAFELLM_HOME", str(home))
            patch.setenv("SAFELLM_KEYS_VAULT", "false")
            if is_async:
                http = NATIVE.AsyncClient(transport=wire.async_transport())
                self.client: Any = safellm.AsyncOpenAI(http_client=http, **options)
            else:
                http = NATIVE.Client(transport=wire.transport())
                self.client = safellm.OpenAI(http_client=http, **options)
        self._http = http
        self.sweep = Sweep(client=self.client, wire=wire, is_async=is_async, runner=self.runner)
        self.sweep.attach()
        self._reports: dict[tuple[str, bool], Report] = {}

    def report(self, method: Method, *, stream: bool = False, rows: int | None = None) -> Report:
        """Return what a method does; it is called the first time only."""
        key = (method.path, stream)
        if key not in self._reports:
            call = method_of(self.client, method.path)
            self._reports[key] = self.sweep.run(
                call, GIVEN.get(method.path, {}), stream=stream, rows=1 if stream else rows
            )
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

HEAD = f"""# Complete mediation

Every public method of `openai` {PINNED}, called through the guard with a secret and a mail address in every place that takes a
string, and answered with a terminal control, a hidden character and a placeholder in every text. This page is written by
`python tests/mediation/mediation_walk.py` from what really passed, and a test compares the two.

* **sent**: places for strings that were filled and searched, then those of them where something may pass by design.
* **back**: texts of the answer that came back clean, then those of them where by design a placeholder stays one.
* **passes**: *names* (identifiers, addresses and words of the provider: only secrets are hidden there), *credentials* (of
  remote tools, which the provider needs), *signed* (by the provider; one changed byte breaks the next turn), *tool input* (goes to
  a program: neither cleaned nor restored undeclared), *bytes* (a download, handed on as it comes).

In the URL a secret is refused on every endpoint; a mail address in a filter passes, because the provider has to understand it.
Headers, `idempotency_key` and `extra_headers` included, aren't searched: they are where credentials stand.

"""


def page(walk: Walk, found: list[Method]) -> str:
    """Return the page."""
    by_route: dict[str, list[tuple[Method, Report, Report | None]]] = defaultdict(list)
    sockets, local = [], []
    for method in found:
        if method.path in LOCAL:
            local.append(method.path)
        elif method.name == "connect":
            sockets.append(method.path)
        else:
            plain = walk.report(method)
            streamed = walk.report(method, stream=True) if method.streams else None
            for verb, path in plain.routes:
                by_route[f"{find_route(verb, path).template} {verb}"].append((method, plain, streamed))
    lines = [
        f"{len(found)} methods, {len(by_route)} endpoints, {len(sockets)} websocket connections (refused), {len(local)} local.\n",
        "| Endpoint | Methods | sent | back | stream | passes |",
        "|---|---|---|---|---|---|",
        *(_line(name, by_route[name]) for name in sorted(by_route)),
        "",
        "Refused, because websockets have no guard yet: " + ", ".join(f"`{one}`" for one in sockets) + ".\n",
        "Without a request of their own: " + "; ".join(f"`{one}` {LOCAL[one]}" for one in local) + ".",
    ]
    return HEAD + "\n".join(lines) + "\n"


def _line(name: str, entries: list[tuple[Method, Report, Report | None]]) -> str:
    template, verb = name.split(" ")
    own = [entry for entry in entries if len(entry[1].routes) == 1] or entries
    sent = set().union(*(plain.sent_places for _, plain, _ in own))
    back = set().union(*(plain.answer_places for _, plain, _ in own))
    passed = {place for _, plain, _ in own for what, where, place in plain.leaks if may_leave(what, where, place)}
    wrong = {place for _, plain, streamed in own for one in (plain, streamed) if one for _, place in one.wrong}
    notes = []
    if any(is_one_of(place, NAMED) or not is_one_of(place, CREDENTIALS, OPAQUE) for place in passed):
        notes.append("names")
    for text, rules in (("credentials", CREDENTIALS), ("signed", OPAQUE)):
        if any(is_one_of(place, rules) for place in passed):
            notes.append(text)
    if any(is_one_of(place, TOOL_INPUT) for place in wrong):
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

    if VERSION != PINNED:
        sys.exit(f"the page is for openai {PINNED}; this is {VERSION}")
    whole = Walk(Path(tempfile.mkdtemp()))
    PAGE.write_text(page(whole, surface()), "utf-8")
    whole.close()
