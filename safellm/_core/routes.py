"""Which endpoint a path names, for APIs whose endpoints are templates: `/threads/{thread_id}/runs`.

What stands before the endpoint (a version, a deployment, a gateway's own prefix) says nothing of the operation.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

from safellm._core.adapter import Billing, Route

Templates = dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]]
"""Templates in segments with their routes, by method and number of segments."""

_READS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def read_templates(text: str, describe: Callable[[str, str], Route]) -> Templates:
    """Return the templates of a list such as `POST /chat/completions`, one a line.

    Args:
        text: The list.
        describe: Says what is known of the endpoint of a method and a template.
    """
    templates: Templates = {}
    for line in text.splitlines():
        method, template = line.split(" ")
        segments = tuple(template.strip("/").split("/"))
        templates.setdefault((method, len(segments)), []).append((segments, describe(method, template)))
    for candidates in templates.values():
        # A literal segment wins over a variable one: "/evals/runs" before "/evals/{eval_id}".
        candidates.sort(key=lambda item: [part.startswith("{") for part in item[0]])
    return templates


def match_template(templates: Templates, method: str, path: str, *, most_prefix_segments: int) -> Route:
    """Return the endpoint that a request's path ends with, or an unknown one.

    Every template starts with a literal segment, so "/v1/models" is never read as the end of a longer one.
    """
    segments = [part for part in path.split("/") if part]
    for skip in range(min(most_prefix_segments, len(segments)) + 1):
        tail = segments[skip:]
        for template, route in templates.get((method, len(tail)), ()):
            if all(want.startswith("{") or want == have for want, have in zip(template, tail, strict=True)):
                return route
    return unknown_route(method, path)


def unknown_route(method: str, path: str) -> Route:
    """Return the route of an endpoint that isn't in any list: a call that may cost something has no price."""
    billing = Billing.FREE if method in _READS else Billing.OTHER
    return Route(method=method, template=path, operation=f"{method.lower()} unknown", billing=billing, known=False)


def is_read(method: str) -> bool:
    """Say whether a method only reads or removes, so that nothing is billed for it."""
    return method in _READS
