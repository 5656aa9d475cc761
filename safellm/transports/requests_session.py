"""What a session of `requests` does before its adapter, in fewer steps: preparing a request, and asking the environment.

A session reads all variables of the environment twice for each request, and merges and checks the same headers and the same
address each time: more work than the rest of a plain call. What comes of it depends on nothing else. So the first time is the
library's, and what it said counts as long as nothing of that differs. How the library decides isn't known here.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import urllib.request
from types import FunctionType
from typing import Any, Final

from requests import PreparedRequest, Request, sessions, utils
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from safellm.transports.memory import remember

_MOST: Final = 8  # addresses of one session
_PARTS: Final = {"method", "url", "headers", "_cookies", "body", "hooks", "_body_position"}
# The variables as the process has them; None where Python keeps them in another way.
_VARIABLES: Final[Any] = getattr(os.environ, "_data", None)
_INSIDE: Final[Any] = sessions  # what it imports isn't exported
_HELP: Final[Any] = utils
_SETTINGS: Final = "_safellm_settings"
_PREPARED: Final = "_safellm_prepared"


class QuickSession:
    """Stands before a class of sessions."""

    def merge_environment_settings(self: Any, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return the settings for an address; see `requests.Session`."""
        below = super().merge_environment_settings  # type: ignore[misc]  # of a session
        own = self.proxies
        if proxies or type(own) is not dict or not (_is_own(below) and _asks_variables_only()):
            return below(url, proxies, stream, verify, cert)
        state = (stream, verify, cert, self.trust_env, self.stream, self.verify, self.cert, own)
        memory = self.__dict__.setdefault(_SETTINGS, {})
        known = memory.get(url)
        if known is None or known[0] != state or known[1] != _VARIABLES:
            variables, settings = dict(_VARIABLES), (*state[:-1], dict(own))
            found = below(url, proxies, stream, verify, cert)
            if variables == _VARIABLES and self.proxies == settings[-1]:  # nobody changed them meanwhile
                kept = {**found, "proxies": found["proxies"].copy()}
                remember(memory, url, (settings, variables, kept), most=_MOST)
            return found
        return {**known[2], "proxies": known[2]["proxies"].copy()}

    def prepare_request(self: Any, request: Request) -> Any:
        """Return a request as it is sent; see `requests.Session`."""
        below = super().prepare_request  # type: ignore[misc]  # of a session
        data, url, given = request.data, request.url, request.headers
        params: Any = request.params
        if (
            (type(data) is not str and type(data) is not bytes) or not data
            or request.json is not None or request.files or request.cookies or request.auth or any(request.hooks.values())
            or type(url) is not str or type(given) is not dict
            or type(self.headers) is not CaseInsensitiveDict or self.auth or len(self.cookies)
            or not _is_own(below)
            or (self.trust_env and _INSIDE.get_netrc_auth(url) is not None)
        ):  # fmt: skip
            return below(request)
        memory = self.__dict__.setdefault(_PREPARED, {})
        known = memory.get((request.method, url))
        items, own = [*given.items()], self.headers._store
        if (
            known is not None
            and known[0] == items
            and known[1] == own
            and known[2] == (params, self.params, self.hooks)
        ):
            return _like(known[3], data)
        before = own.copy()
        made = below(request)
        if _can_repeat(made, items, params, self.params) and type(self.hooks) is dict:
            settings = ([*params], dict(self.params), {name: [*hooks] for name, hooks in self.hooks.items()})
            # Another thread may have changed the session meanwhile: nothing but what was compared may be in it.
            said = before.keys() | {name.lower() for name, _ in items} | {"content-length"}
            if self.headers._store == before and not self.auth and made.headers._store.keys() <= said:
                remember(memory, (request.method, url), (items, before, settings, _like(made, "")), most=_MOST)
        return made


def _is_own(method: Any) -> bool:
    """Return whether a method is the one of `requests`, replaced by nobody: wrappers copy names, but not globals."""
    function = method.__func__
    return type(function) is FunctionType and function.__globals__ is sessions.__dict__


def _asks_variables_only() -> bool:
    """Return whether the library asks the environment's variables alone which proxy to take, as it does on Linux."""
    return (
        _VARIABLES is not None
        and _HELP.getproxies is urllib.request.getproxies_environment
        and _HELP.proxy_bypass is urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # untyped there
        and _INSIDE.get_environ_proxies is _HELP.get_environ_proxies
    )


def _can_repeat(made: Any, items: list[Any], params: Any, own: Any) -> bool:
    """Return whether a request is made of nothing else than what was compared, which can't change unseen."""
    return (
        type(made) is PreparedRequest
        and made.__dict__.keys() == _PARTS
        and list(vars(made.headers)) == ["_store"]
        and "Content-Length" in made.headers
        and made._body_position is None
        and type(params) is list
        and all(type(one) is tuple and all(type(word) is str for word in one) for one in params)
        and type(own) is dict
        and not own
        and all(type(word) is str or type(word) is bytes for item in items for word in item)
    )


def _like(known: Any, data: Any) -> PreparedRequest:
    """Return a request like an earlier one with another body."""
    made = object.__new__(PreparedRequest)
    headers: Any = object.__new__(CaseInsensitiveDict)
    headers._store = store = known.headers._store.copy()
    length = len(data) if type(data) is bytes or data.isascii() else utils.super_len(data)
    store["content-length"] = (store["content-length"][0], str(length))
    made.method, made.url, made.headers, made._cookies = known.method, known.url, headers, RequestsCookieJar()
    made.body, made.hooks = data, {name: [*hooks] for name, hooks in known.hooks.items()}
    made._body_position = None
    return made
