"""Complete mediation, proven by reflection: no public method of the SDK gets a marked text past the guard, either way."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import defaultdict
from importlib.resources import files

import pytest
from mediation_rules import GIVEN, LOCAL, may_come, may_leave
from mediation_surface import VERSION, Method, doors, methods, resources
from mediation_sweep import Report
from mediation_walk import PAGE, PINNED, Walk, method_of, page, surface

from safellm.errors import Refused
from safellm_openai.endpoints import find_route

SURFACE = surface()
BY_RESOURCE: dict[str, list[Method]] = defaultdict(list)
for _method in SURFACE:
    BY_RESOURCE[_method.resource].append(_method)
PLACED = [one for one in SURFACE if one.path not in LOCAL and one.name != "connect"]
# Endpoints that only older SDKs call.
OLDER = {("POST", "/evals/{eval_id}/runs/{run_id}")}
# What the SDK's own helpers can't do with made-up answers: they keep a state over events. Their requests count.
HELPERS = ("stream", "create_and_run_stream", "create_and_stream", "submit_tool_outputs_stream", "upload", "prepare")


def check(report: Report, name: str) -> None:
    """Assert that nothing passed that isn't on the list of exceptions."""
    assert not report.errors, report.errors[:3]
    assert not report.stumbled or name in HELPERS, report.stumbled[:3]
    left = sorted(one for one in report.leaks if not may_leave(*one))
    assert not left, f"{len(left)} left the machine, such as {left[:5]}"
    came = sorted(one for one in report.wrong if not may_come(*one))
    assert not came, f"{len(came)} reached the program, such as {came[:5]}"
    unknown = [one for one in report.routes if not find_route(*one).known]
    assert not unknown, f"no entry in the adapter's table: {unknown}"
    assert report.calls > 0


@pytest.mark.parametrize("resource", sorted(BY_RESOURCE))
def test_nothing_passes_the_guard(walk: Walk, resource: str) -> None:
    """Secrets and mail addresses in any argument don't leave; controls, hidden characters and values in URLs don't come."""
    for method in BY_RESOURCE[resource]:
        if method in PLACED:
            check(walk.report(method), method.name)
            if method.streams:
                streamed = walk.report(method, stream=True)
                check(streamed, method.name)
                assert streamed.streams or method.name == "parse"  # which takes the word and doesn't stream


@pytest.mark.parametrize("resource", sorted(BY_RESOURCE))
def test_nothing_passes_the_async_guard(async_walk: Walk, resource: str) -> None:
    """The async twin of every method does the same."""
    for method in BY_RESOURCE[resource]:
        if method in PLACED:
            check(async_walk.report(method, rows=1), method.name)


def test_the_walk_places_every_method(walk: Walk) -> None:
    """Sync and async offer the same methods; each is called, refused as a websocket, or on the list of local ones."""
    assert [one.path for one in SURFACE] == [one.path for one in methods(walk.client)]
    known = {one.path for one in SURFACE}
    assert known >= set(LOCAL) | set(GIVEN) or VERSION != PINNED
    if VERSION == PINNED:
        assert (len(SURFACE), len(list(resources(walk.client)))) == (436, 134)


def test_async_offers_the_same(async_walk: Walk) -> None:
    """No async method is left out of the walk."""
    assert {one.path for one in methods(async_walk.client)} == {one.path for one in SURFACE}


@pytest.mark.parametrize("path", sorted(one.path for one in SURFACE if one.name == "connect"))
def test_websockets_are_refused(walk: Walk, path: str) -> None:
    """A way around the transport is refused before anything is sent."""
    method = method_of(walk.client, path)
    needed = {name: "item-1" for name, one in method.parameters.items() if one.default is one.empty}
    walk.wire.requests.clear()
    with pytest.raises(Refused):
        method.call(**needed).enter()
    assert not walk.wire.requests


@pytest.mark.skipif(VERSION != PINNED, reason=f"the table is of openai {PINNED}; this is {VERSION}")
def test_every_endpoint_of_the_table_is_walked(walk: Walk) -> None:
    """The adapter's table holds no endpoint that no SDK calls."""
    walked = {
        (one.method, one.template) for each in PLACED for one in (find_route(*at) for at in walk.report(each).routes)
    }
    table = (files("safellm_openai") / "endpoints.txt").read_text("ascii").splitlines()
    assert {tuple(line.split(" ")) for line in table} - walked == OLDER


def test_the_walk_is_no_empty_one(walk: Walk) -> None:
    """Enough was filled, sent, answered, restored and refused that a silent walk can't pass."""
    reports = [
        walk.report(one) for one in SURFACE if one.path in ("chat.completions.create", "responses.create", "files.list")
    ]
    assert sum(len(one.sent_places) for one in reports) > 1000 or VERSION != PINNED
    assert sum(one.restored for one in reports) > 100
    assert sum(one.refused for one in reports) > 0  # a secret in the filter of `files.list`
    assert all(one.answer_places for one in reports)


@pytest.mark.skipif(VERSION != PINNED, reason=f"the page is written for openai {PINNED}; this is {VERSION}")
def test_the_page_says_what_the_walk_found(walk: Walk) -> None:
    """`docs/mediation.md` is what the walk yields; `python tests/mediation/mediation_walk.py` writes it."""
    assert PAGE.read_text("utf-8") == page(walk, SURFACE)


def test_the_doors_of_a_client_are_known(walk: Walk) -> None:
    """A public method of the client itself that isn't on this list needs a test of its own."""
    known = {"get", "post", "put", "patch", "delete", "get_api_list", "request"}  # tested in test_mediation_doors.py
    plain = {"copy", "with_options", "close", "is_closed", "platform_headers"}
    assert doors(walk.client) - plain == known
