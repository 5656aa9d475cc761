"""The seam of DSPy's own HTTP client (`dspy._vendor.lm15`): it speaks HTTP over sockets, past every HTTP library."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from safellm.auto import bridge, gate
from safellm.auto.hooks import Patches

_LIBRARY = "dspy"


def patch(module: ModuleType, patches: Patches) -> None:
    """Guard the sync transport."""

    def stream(original: Any) -> Any:
        def guarded(self: Any, request: Any) -> Any:
            common, target = _common(request)
            if target is None or not gate.STATE.installed:
                return original(self, request)

            def transport(forwarded: Any) -> Any:
                answer = original(self, _own(request, forwarded, forwarded.read()))
                body = bridge.stream_of(iter(answer), answer.close)
                return bridge.family().Response(answer.status, headers=answer.headers, stream=body)

            answer = bridge.send(common, target, _LIBRARY, transport)

            def chunks() -> Iterator[bytes]:
                yield from answer.stream

            return module.TransportResponse(**_head(answer), chunks=chunks(), release=lambda _: answer.stream.close())

        return guarded

    patches.replace(module.StdlibTransport, "stream", stream)


def patch_async(module: ModuleType, patches: Patches) -> None:
    """Guard the async transport."""

    def stream(original: Any) -> Any:
        async def guarded(self: Any, request: Any) -> Any:
            common, target = _common(request)
            if target is None or not gate.STATE.installed:
                return await original(self, request)

            async def transport(forwarded: Any) -> Any:
                answer = await original(self, _own(request, forwarded, await forwarded.aread()))
                body = bridge.async_stream_of(aiter(answer), answer.aclose)
                return bridge.family().Response(answer.status, headers=answer.headers, stream=body)

            answer = await bridge.send_async(common, target, _LIBRARY, transport)

            async def chunks() -> AsyncIterator[bytes]:
                async for chunk in answer.stream:
                    yield chunk

            async def release(_: bool) -> None:
                await answer.stream.aclose()

            return module.AsyncTransportResponse(**_head(answer), chunks=chunks(), release=release)

        return guarded

    patches.replace(module.StdlibAsyncTransport, "_do_stream", stream)


def _common(request: Any) -> tuple[Any, Any]:
    common = bridge.family().Request(request.method, request.url, headers=request.headers, content=request.body)
    url = common.url
    # Only language models are called through it, so its requests are guarded wherever they go.
    sdk = "anthropic" if url.path.endswith("/messages") else "openai" if request.method == "POST" else ""
    target = gate.find(url.scheme, url.host, url.port, url.path, library=_LIBRARY, sdk=sdk)
    return common, target


def _own(request: Any, forwarded: Any, body: bytes) -> Any:
    headers = [(name, value) for name, value in forwarded.headers.multi_items() if name.lower() != "host"]
    return dataclasses.replace(request, headers=headers, body=body)


def _head(answer: Any) -> dict[str, Any]:
    headers = list(answer.headers.multi_items())
    return {"status": answer.status_code, "reason": "", "headers": headers, "http_version": "HTTP/1.1"}
