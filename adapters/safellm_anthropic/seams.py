"""The few places of the SDK's own classes where a guarded client differs. A client without a guard passes through unchanged.

The SDK compares `type(client)` with its own classes before it looks for profiles and workload identities, so a guarded client
has to be of the SDK's very class: a subclass would lose its credentials without a word. What can't be said on the transport is
therefore said here, once for each class.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from typing import Any

from safellm.errors import Refused
from safellm.transports.urls import remembered
from safellm_anthropic.errors import native_error
from safellm_anthropic.platforms import Platform, follow, refuse_own_credential
from safellm_anthropic.quiet import refuse_content

# Signs the request that leaves: the SDK's own method, bound to the client that is calling. Set before each call.
SIGNER: ContextVar[Any] = ContextVar("safellm_anthropic_signer", default=None)
_SEAMED: set[type] = set()


def seam(sdk: type, platform: Platform) -> None:
    """Prepare one of the SDK's client classes. Twice is the same as once."""
    if sdk in _SEAMED:
        return
    _SEAMED.add(sdk)
    _seam_error(sdk)
    _seam_address(sdk)
    _seam_url(sdk)
    for name in ("copy", "with_options"):
        _seam_copy(sdk, name, platform)


def seam_signature(sdk: type) -> None:
    """Have a class sign what leaves instead of what the program said: AWS signs the body (SigV4)."""
    original = vars(sdk)["_prepare_request"]
    if hasattr(original, "__wrapped__"):
        return

    def deferred(client: Any) -> bool:
        late = _driver(client) is not None and signs(client)
        # Said for every call: what an earlier client of this thread left would sign this one's request otherwise.
        SIGNER.set(functools.partial(original, client) if late else None)
        return late

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def prepare_async(self: Any, request: Any) -> None:
            if not deferred(self):
                await original(self, request)

        sdk._prepare_request = prepare_async  # type: ignore[attr-defined]  # noqa: SLF001 - the SDK's one place for it
    else:

        @functools.wraps(original)
        def prepare(self: Any, request: Any) -> None:
            if not deferred(self):
                original(self, request)

        sdk._prepare_request = prepare  # type: ignore[attr-defined]  # noqa: SLF001 - the same


def signs(client: Any) -> bool:
    """Return whether an AWS client signs requests, rather than sending a key."""
    uses = getattr(client, "_use_sigv4", None)
    if uses is None:
        return getattr(client, "api_key", None) is None
    return bool(uses) and not getattr(client, "skip_auth", False)


def _driver(client: Any) -> Any:
    from safellm.transports.http import guard_of  # noqa: PLC0415 - the guard's modules load when a client is made

    return guard_of(getattr(client, "_client", None))  # none yet while the SDK's constructor runs


def _seam_error(sdk: type) -> None:
    original: Any = sdk._make_status_error  # type: ignore[attr-defined]  # noqa: SLF001 - the SDK's one place for it

    @functools.wraps(original)
    def make_status_error(self: Any, err_msg: str, *, body: object, response: Any) -> Any:
        from safellm.transports.http import REFUSAL  # noqa: PLC0415

        error = response.extensions.get(REFUSAL)
        if isinstance(error, Refused):
            return native_error(error, response)
        return original(self, err_msg, body=body, response=response)

    sdk._make_status_error = make_status_error  # type: ignore[attr-defined]  # noqa: SLF001 - the same


def _seam_address(sdk: type) -> None:
    original: property = inspect.getattr_static(sdk, "base_url")

    def get(self: Any) -> Any:
        return original.fget(self)  # type: ignore[misc]  # a property that is read has a getter

    def put(self: Any, url: Any) -> None:
        from safellm.client import bind  # noqa: PLC0415

        original.fset(self, url)  # type: ignore[misc]  # the SDK's has a setter
        driver = _driver(self)
        if driver is not None:
            bind(driver, self.base_url)  # another address that the program sets is bound like one given as an argument

    sdk.base_url = property(get, put, doc=original.__doc__)  # type: ignore[attr-defined]  # the SDK's own property


def _seam_copy(sdk: type, name: str, platform: Platform) -> None:
    original = getattr(sdk, name)

    @functools.wraps(original)
    def copy(self: Any, *args: Any, **options: Any) -> Any:
        from safellm.transports.http import guard_client, guard_of, own_copy  # noqa: PLC0415

        driver, http_client = _driver(self), options.get("http_client")
        if driver is None:
            return original(self, *args, **options)
        refuse_content(options.get("open_telemetry"))
        refuse_own_credential(driver, options, platform)
        if http_client is None:
            # Said aloud: some older classes would make a new one, without a guard.
            options["http_client"] = self._client
        elif guard_of(http_client) is None:
            # Another HTTP client gets this client's guard: its policy, its keys, its bounds (THREATS E.4).
            options["http_client"] = guard_client(own_copy(http_client), driver)
        made = original(self, *args, **options)
        # A credential of its own may bring another address: the SDK drops the one that came with the credential before.
        follow(driver, made, options, platform)
        return made

    setattr(sdk, name, copy)


def _seam_url(sdk: type) -> None:
    original: Any = sdk._prepare_url  # type: ignore[attr-defined]  # noqa: SLF001 - the SDK's one place for it
    if not original.__module__.endswith("._base_client"):
        return  # a platform's own way depends on more than the client's address

    @functools.wraps(original)
    def prepare_url(self: Any, url: str) -> Any:
        return (
            original(self, url) if _driver(self) is None else remembered(self, url, functools.partial(original, self))
        )

    sdk._prepare_url = prepare_url  # type: ignore[attr-defined]  # noqa: SLF001 - the same
