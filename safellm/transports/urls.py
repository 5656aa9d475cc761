"""The addresses that an SDK's client sends to, parsed once each: a client has one origin and a few paths.

A plain call of OpenAI's SDK parses the same address three times, which is 4 % of its work.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from safellm.transports.memory import remember

_MOST: Final = 64  # addresses of one client; some hold an id and don't come again
_NAME: Final = "_safellm_urls"


def remembered(client: Any, path: str, parse: Callable[[str], Any]) -> Any:
    """Return what `parse` makes of a path, from memory if this client asked before. URLs of httpx and httpx2 never change.

    Args:
        client: Of an SDK. What it has as `base_url` decides about the result: another one is another memory.
        path: As the SDK's method names it.
        parse: The SDK's own way.
    """
    base = client.base_url
    known = client.__dict__.get(_NAME)
    if known is None or known[0] is not base:
        known = (base, {})
        client.__dict__[_NAME] = known
    urls: dict[str, Any] = known[1]
    found = urls.get(path)
    if found is None:
        found = parse(path)
        remember(urls, path, found, most=_MOST)
    return found
