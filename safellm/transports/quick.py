"""Clients of httpx and httpx2 that do the plain part of a call in fewer steps: building its request, sending it (`quick_send`).

The library merges headers, address, cookies and parameters of the client with those of the call, anew each time, which is an
eighth of the work of a plain call. What comes of it depends on nothing else. So the first request to an endpoint is the library's,
and the next ones of equal parts are copies of it with another body. How the library merges isn't known here.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import sys
from functools import cache, wraps
from types import FunctionType
from typing import Any, Final

from safellm.transports.memory import remember
from safellm.transports.quick_send import KINDS, METHODS, MOST, are_known, sends
from safellm.transports.raw_headers import ways

_MEMORY: Final = "_safellm_built"
_FAMILIES: Final = ("httpx2", "httpx")
_METHODS: Final = ("build_request", "_merge_url", "_merge_headers", "_merge_cookies", "_merge_queryparams")
# What a request consists of in the library, and what its client takes.
_PARTS: Final = ["method", "url", "headers", "extensions", "stream", "_content"]
_OPTIONS: Final = [
    "self", "method", "url", "content", "data", "files", "json", "params", "headers", "cookies", "timeout", "extensions",
]  # fmt: skip
_WAITS: Final = ("connect", "read", "write", "pool")
_NUMBERS: Final = (float, int)
_LENGTH: Final = b"content-length"
_COOKIES: Final = frozenset({b"cookie", b"cookie2"})


def use_quick(client: Any, *, text: bool = False) -> Any:
    """Have a client build requests from earlier ones and read whole answers at once, if it is made as we know it.

    Args:
        client: Sync or async, of httpx or httpx2 or of a class made of theirs, guarded. It is changed in place.
        text: Its SDK reads the text of every whole answer: how it is encoded is found out once for each kind of content.

    Returns:
        The client.
    """
    kind: Any = type(client)
    names = {base.__module__.partition(".")[0] for base in kind.__mro__}
    module: Any = next((sys.modules[name] for name in _FAMILIES if name in names), None)
    if module is None or _MEMORY in client.__dict__ or not _is_known(module):
        return client
    inside: Any = sys.modules[f"{module.__name__}._client"]
    world = inside.AsyncClient if hasattr(kind, "aclose") else inside.Client
    own = ((inside.BaseClient, _METHODS), (world, METHODS))
    if all(_is_own(kind, name, home, inside) for home, methods in own for name in methods):
        client.__class__ = _quick(module, kind)
        client.__dict__[_MEMORY] = {}
        if text:
            client.__dict__[KINDS] = {}
    return client


def _is_own(kind: type, name: str, home: type, inside: Any) -> bool:
    """Return whether a class has a method as the library has it, replaced by nobody: wrappers copy names, but not globals."""
    method = getattr(kind, name)
    return type(method) is FunctionType and method.__globals__ is inside.__dict__ and method is home.__dict__.get(name)


@cache
def _is_known(module: Any) -> bool:
    """Return whether requests and answers of a module, and what makes them, are as we know them."""
    try:
        inside = sys.modules[f"{module.__name__}._client"]
        request = module.Request("POST", "http://host/", headers={"a": "b"}, content=b"c")
        return (
            inside.Request is module.Request
            and list(inspect.signature(inside.BaseClient.build_request).parameters) == _OPTIONS
            and list(request.__dict__) == _PARTS
            and request.headers._list[-1] == (b"Content-Length", _LENGTH, b"1")
            and request.stream.__dict__ == {"_stream": b"c"}
            and request.url._uri_reference is not None
            and list(module.Timeout(1.0).as_dict().items()) == [(name, 1.0) for name in _WAITS]
            and module.Cookies().jar._cookies == {}
            and are_known(module, inside)
        )
    except (AttributeError, IndexError, TypeError):
        return False


@cache
def _quick(module: Any, base: Any) -> type:
    """Return the class of clients of the class `base` that do so."""
    original, default, plain, url_kind = base.build_request, module.USE_CLIENT_DEFAULT, module.Request, module.URL
    headers_kind = module.Headers
    requests = _Requests(module)

    @wraps(original)
    def build_request(  # noqa: PLR0913 - the library's signature
        self: Any, method: Any, url: Any, *, content: Any = None, data: Any = None, files: Any = None, json: Any = None,
        params: Any = None, headers: Any = None, cookies: Any = None, timeout: Any = default, extensions: Any = None,
    ) -> Any:  # fmt: skip
        body = content.encode("utf-8") if type(content) is str else content
        kind = type(headers)
        key: Any = None
        if (
            type(body) is bytes and body
            and (kind is headers_kind or kind is dict or kind is list)
            and (type(url) is url_kind or type(url) is str)
            and data is files is json is params is cookies is extensions is None
            and not self._params
            and base.build_request is original  # or somebody wants to see every request that is built
        ):  # fmt: skip
            key = (method, url if type(url) is str else url._uri_reference)
            given = [*(headers if kind is list else headers.items() if kind is dict else headers._list)]
            known = self.__dict__[_MEMORY].get(key)
            if known is not None and known[0] == given and known[1] == self._headers._list:
                return requests.like(self, known, body, self._timeout if timeout is default else timeout)
        own = None if key is None else [*self._headers._list]
        made = base.build_request(
            self, method, url, content=content, data=data, files=files, json=json, params=params, headers=headers,
            cookies=cookies, timeout=timeout, extensions=extensions,
        )  # fmt: skip
        if (
            key is not None
            and type(made) is plain
            and made.url == url_kind(url)
            and own == self._headers._list  # or another thread changed them meanwhile
            and all(type(one) is tuple for one in given)
        ):
            requests.learn(self, key, given, {lower for _, lower, _ in headers_kind(headers)._list}, made)
        return made

    inside = {"build_request": build_request, "send": sends(module, base)}
    return type(base.__name__, (base,), {**inside, "__module__": base.__module__, "__qualname__": base.__qualname__})


class _Requests:
    """Remembers requests as the library of a module made them, and makes the next ones."""

    __slots__ = ("_body_of", "_headers_of", "_plain", "_timeout_kind")

    def __init__(self, module: Any) -> None:
        self._plain, self._body_of, self._timeout_kind = module.Request, module.ByteStream, module.Timeout
        self._headers_of = ways(module)[1]

    def like(self, client: Any, known: Any, content: bytes, timeout: Any) -> Any:
        """Return a request like an earlier one with another body."""
        _, _, method, url, before, behind = known
        made = object.__new__(self._plain)
        parts, cookies, length = made.__dict__, client._cookies, (b"Content-Length", _LENGTH, b"%d" % len(content))
        parts["method"], parts["url"] = method, url
        if cookies.jar._cookies:
            parts["headers"] = self._headers_of([*before])
            if cookies:
                cookies.set_cookie_header(made)
            parts["headers"]._list += (length, *behind)
        else:
            parts["headers"] = self._headers_of([*before, length, *behind])
        if timeout is None or type(timeout) in _NUMBERS:
            waits = dict.fromkeys(_WAITS, timeout)
        else:
            waits = (timeout if type(timeout) is self._timeout_kind else self._timeout_kind(timeout)).as_dict()
        parts["extensions"], parts["stream"], parts["_content"] = {"timeout": waits}, self._body_of(content), content
        return made

    def learn(self, client: Any, key: Any, given: Any, names_given: set[bytes], made: Any) -> None:
        """Remember a request that the library made, unless its length or its cookies were said by somebody."""
        own, items = client._headers._list, made.headers._list
        names = [lower for _, lower, _ in items]
        said = names_given.union([lower for _, lower, _ in own])
        if names.count(_LENGTH) != 1 or _LENGTH in said or not _COOKIES.isdisjoint(said):
            return
        at = names.index(_LENGTH)
        if (
            items[at] != (b"Content-Length", _LENGTH, b"%d" % len(made._content))
            or type(made.stream) is not self._body_of
        ):
            return
        before, behind = ([item for item in some if item[1] not in _COOKIES] for some in (items[:at], items[at + 1 :]))
        remember(client.__dict__[_MEMORY], key, (given, [*own], made.method, made.url, before, behind), most=MOST)
