"""Complete mediation, proven by reflection: no public method of an SDK gets a marked text past the guard, either way."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from mediation_sdk import SDK
from mediation_surface import Method, doors, methods, resources
from mediation_sweep import Report
from mediation_walk import Walk, installed, method_of, page, surface

from safellm.errors import Refused

Walks = Callable[[str], Walk]
SDKS = installed()
BY_RESOURCE: dict[tuple[str, str], list[Method]] = defaultdict(list)
for _name in SDKS:
    for _method in surface(_name):
        BY_RESOURCE[_name, _method.resource].append(_method)
RESOURCES = pytest.mark.parametrize(("name", "resource"), sorted(BY_RESOURCE))
NAMED = pytest.mark.parametrize("name", SDKS)


def placed(sdk: SDK) -> list[Method]:
    """Return the methods that are called."""
    return [one for one in surface(sdk.name) if one.path not in sdk.local and one.name != "connect"]


def check(sdk: SDK, report: Report, name: str) -> None:
    """Assert that nothing passed that isn't on the list of exceptions."""
    assert not report.errors, report.errors[:3]
    assert not report.stumbled or name in sdk.helpers, report.stumbled[:3]
    left = sorted(one for one in report.leaks if not sdk.may_leave(*one))
    assert not left, f"{len(left)} left the machine, such as {left[:5]}"
    came = sorted(one for one in report.wrong if not sdk.may_come(*one))
    assert not came, f"{len(came)} reached the program, such as {came[:5]}"
    unknown = [one for one in report.routes if not sdk.find_route(*one).known]
    assert not unknown, f"no entry in the adapter's table: {unknown}"
    assert report.calls > 0


def needs_pinned(sdk: SDK) -> None:
    """Skip for another version than the one that the page and the table are written for."""
    if not sdk.is_pinned:
        pytest.skip(f"written for {sdk.name} {sdk.pinned}; this is {sdk.version}")


@RESOURCES
def test_nothing_passes_the_guard(walks: Walks, name: str, resource: str) -> None:
    """Secrets and mail addresses in any argument don't leave; controls, hidden characters and values in URLs don't come."""
    sdk = SDKS[name]
    for method in BY_RESOURCE[name, resource]:
        if method.path not in sdk.local and method.name != "connect":
            check(sdk, walks(name).report(method), method.name)
            if method.streams:
                streamed = walks(name).report(method, stream=True)
                check(sdk, streamed, method.name)
                assert streamed.streams or method.name in sdk.unstreamed


@RESOURCES
def test_nothing_passes_the_async_guard(async_walks: Walks, name: str, resource: str) -> None:
    """The async twin of every method does the same, streamed too."""
    sdk = SDKS[name]
    for method in BY_RESOURCE[name, resource]:
        if method.path not in sdk.local and method.name != "connect":
            check(sdk, async_walks(name).report(method, rows=1), method.name)
            if method.streams:
                streamed = async_walks(name).report(method, stream=True)
                check(sdk, streamed, method.name)
                assert streamed.streams or method.name in sdk.unstreamed


@NAMED
def test_the_walk_places_every_method(walks: Walks, name: str) -> None:
    """Sync and async offer the same methods; each is called, a websocket, or on the list of local ones."""
    sdk, found = SDKS[name], surface(name)
    assert [one.path for one in found] == [one.path for one in methods(walks(name).client)]
    known = {one.path for one in found}
    assert known >= set(sdk.local) | set(sdk.given) or not sdk.is_pinned
    if sdk.is_pinned:
        assert (len(found), len(list(resources(walks(name).client)))) == sdk.size


@NAMED
def test_async_offers_the_same(async_walks: Walks, name: str) -> None:
    """No async method is left out of the walk."""
    found = {one.path for one in methods(async_walks(name).client)}
    assert found - SDKS[name].async_only == {one.path for one in surface(name)}


@pytest.mark.parametrize(
    ("name", "path"),
    sorted((name, one.path) for (name, _), every in BY_RESOURCE.items() for one in every if one.name == "connect"),
)
def test_websockets_without_a_guard_are_refused(walks: Walks, name: str, path: str) -> None:
    """A way around the transport is refused before anything is sent. Those with a guard are walked in `tests/websockets`."""
    if path in SDKS[name].guarded_sockets:
        return
    walk = walks(name)
    method = method_of(walk.client, path)
    needed = {name: "item-1" for name, one in method.parameters.items() if one.default is one.empty}
    walk.wire.requests.clear()
    with pytest.raises(Refused):
        method.call(**needed).enter()
    assert not walk.wire.requests


@NAMED
def test_every_endpoint_of_the_table_is_walked(walks: Walks, name: str) -> None:
    """The adapter's table holds no endpoint that no SDK calls."""
    sdk = SDKS[name]
    needs_pinned(sdk)
    routes = (sdk.find_route(*at) for each in placed(sdk) for at in walks(name).report(each).routes)
    assert sdk.endpoints - {(one.method, one.template) for one in routes} == sdk.older


@NAMED
def test_the_walk_is_no_empty_one(walks: Walks, name: str) -> None:
    """Enough was filled, sent, answered, restored and refused that a silent walk can't pass."""
    sdk = SDKS[name]
    reports = [walks(name).report(one) for one in surface(name) if one.path in sdk.samples]
    assert len(reports) == len(sdk.samples)
    assert sum(len(one.sent_places) for one in reports) > 1000 or not sdk.is_pinned
    assert sum(one.restored for one in reports) > 100
    assert sum(one.refused for one in reports) > 0  # a secret in the filter of a list
    assert all(one.answer_places for one in reports)


@NAMED
def test_the_page_says_what_the_walk_found(walks: Walks, name: str) -> None:
    """The page is what the walk yields; `python tests/mediation/mediation_walk.py NAME` writes it."""
    sdk = SDKS[name]
    needs_pinned(sdk)
    assert sdk.page.read_text("utf-8") == page(walks(name), surface(name))


@NAMED
def test_the_doors_of_a_client_are_known(walks: Walks, name: str) -> None:
    """A public method of the client itself that isn't on this list needs a test of its own."""
    plain = {"copy", "with_options", "with_middleware", "close", "is_closed", "platform_headers"}
    assert doors(walks(name).client) - plain == SDKS[name].doors
