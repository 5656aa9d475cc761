"""The seam of `aiohttp`: every request and websocket of its client. No shell yet: calls to language models are refused."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from safellm.auto import gate
from safellm.auto.hooks import Patches

WAY_OUT = (
    "Use httpx or requests for it; the page `without-code-changes` of the documentation lists what can be guarded."
)


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `ClientSession._request`, which `get`, `post`, `request` and `ws_connect` all call."""

    def request(original: Any) -> Any:
        async def _request(self: Any, method: str, str_or_url: Any, **named: Any) -> Any:
            url = self._build_url(str_or_url)
            agent = _agent(self, named)
            target = gate.find(url.scheme, url.raw_host or "", url.port, url.path, library="aiohttp", agent=agent)
            if target is not None:
                await asyncio.to_thread(gate.check, target, "aiohttp", WAY_OUT)
            return await original(self, method, str_or_url, **named)

        return _request

    patches.replace(module.ClientSession, "_request", request)


def _agent(session: Any, named: dict[str, Any]) -> str:
    for headers in (named.get("headers"), session.headers):
        pairs: Any = headers.items() if isinstance(headers, Mapping) else headers or ()
        for name, value in pairs:
            if str(name).lower() == "user-agent":
                return str(value)
    return ""
