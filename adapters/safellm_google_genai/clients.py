"""The SDK's client with guarded HTTP clients inside. Everything else of it is untouched.

What differs from the SDK, and why:
* Both of its HTTP clients are ours. With one alone it sends async calls through aiohttp, past the guard, where that is installed.
* A key from the vault or a variable is managed: the client holds a placeholder, the transport puts the key on a copy of the
  request after the egress check (THREATS K.4). A key given as an argument is the program's own and stays what it is.
* An address from a variable counts only if it is Google's own, bound or loopback (E.1). `http_options` of one call may name
  another address, and the key would follow: such a call is refused.
* Live and music sessions are opened by the guard (`websocket.py`). Recordings for replay are refused.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import importlib
import inspect
import os
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import google.genai
from google.genai import _api_client, _base_url, types
from safellm.errors import ConfigurationError
from safellm_google_genai.adapter import ADAPTER, GEMINI, VERTEX, GoogleAdapter, is_vertex
from safellm_google_genai.errors import RefusedCall, native_error

if TYPE_CHECKING:
    from safellm._core.call import Bounds
    from safellm._core.origin import Origin
    from safellm.client import Setup

_KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")  # in the order of the SDK
_ENTERPRISE_VARIABLES = ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI")
# What of the SDK's `client_args` belongs to the transport; the rest (headers, timeout, hooks) to the client around it.
_TRANSPORT_ARGS = frozenset(
    {
        "transport",
        "mounts",
        "proxy",
        "proxies",
        "verify",
        "cert",
        "trust_env",
        "http1",
        "http2",
        "limits",
        "uds",
        "local_address",
    }
)


_CONNECTION_ARGS = frozenset({"transport", "mounts", "proxy", "proxies", "verify", "cert", "trust_env", "uds", "ssl"})


class _Final(Exception):
    """Carries a refusal past the SDK's retries, which may include status 429."""


class _GuardedApiClient(_api_client.BaseApiClient):
    """The SDK's inner client. A refusal is final, and websockets are opened by the guard."""

    def _request_once(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._request_once(*args, **options)
        except RefusedCall as error:
            raise _Final from error

    def _request(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._request(*args, **options)
        except _Final as error:
            refused = error.__cause__
        raise refused or RuntimeError

    async def _async_request_once(self, *args: Any, **options: Any) -> Any:
        try:
            return await super()._async_request_once(*args, **options)
        except RefusedCall as error:
            raise _Final from error

    async def _async_request(self, *args: Any, **options: Any) -> Any:
        try:
            return await super()._async_request(*args, **options)
        except _Final as error:
            refused = error.__cause__
        raise refused or RuntimeError

    def _websocket_base_url(self, *arguments: Any, **options: Any) -> str:
        # Live and music sessions ask for it right before they connect: only the guarded `connect` understands the answer.
        from safellm_google_genai.websocket import address  # noqa: PLC0415 - the library is loaded by the SDK

        return address(self, super()._websocket_base_url(*arguments, **options))


def _like(sdk: Any) -> Callable[[type[Client]], type[Client]]:
    """Give the guarded class the signature of the SDK's class, for programs and editors that inspect it."""

    def dress(made: type[Client]) -> type[Client]:
        init: Any = made.__init__
        own = inspect.signature(init).parameters["safellm"]
        functools.update_wrapper(init, sdk.__init__)
        theirs = inspect.signature(sdk.__init__)
        init.__signature__ = theirs.replace(parameters=[*theirs.parameters.values(), own])
        return made

    return dress


@_like(google.genai.Client)
class Client(google.genai.Client):
    """`google.genai.Client`, guarded. Takes the SDK's arguments and `safellm=`, a mapping of policy values for this client."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        from safellm.client import prepare  # noqa: PLC0415 - the guard's modules load when a client is made

        _refuse_recording(options.get("debug_config"))
        given = _http_options(options.get("http_options"))
        _refuse_foreign(given)
        setup = prepare(ADAPTER, safellm, sdk=f"google-genai {google.genai.__version__}")
        vertex = _uses_vertex(options)
        base_url = given.base_url or _configured(vertex=vertex)
        _manage_key(setup, options, vertex=vertex)
        module = _family(given)
        sync_args, async_args = _client_args(given, vertex=vertex)
        http = _sync_client(module, given, sync_args)
        async_http, pool = _async_client(module, given, async_args)
        options["http_options"] = given.model_copy(update={"httpx_client": http, "httpx_async_client": async_http})
        try:
            super().__init__(**options)
        except ValueError as error:
            if setup.vault_problem is not None and any(words in str(error) for words in ("API key", "api_key")):
                raise ValueError(f"{error} (safellm: {setup.vault_problem})") from None
            raise
        self._safellm_guard(setup, module, http, async_http, given, in_code=base_url is not None)
        # The SDK leaves a given client open; this one is nobody else's. Its pools go with it.
        self._safellm_own = given.httpx_client is None
        if self._safellm_own:
            weakref.finalize(http, _close, http._transport, *http._mounts.values())  # noqa: SLF001
        self._safellm_async = async_http if pool is not None else None
        if pool is not None:
            self._aio.aclose = functools.partial(_aclose, self._aio, async_http)  # type: ignore[method-assign]

    @staticmethod
    def _get_api_client(**options: Any) -> Any:  # type: ignore[override]  # called by keyword, by the SDK alone
        # The SDK's factory; `debug_config` chooses recordings, which are refused above.
        options.pop("debug_config", None)
        return _GuardedApiClient(**options)

    def _safellm_guard(  # noqa: PLR0913 - what has been made so far
        self, setup: Setup, module: ModuleType, http: Any, async_http: Any, given: Any, *, in_code: bool
    ) -> None:
        from safellm.client import origin_of  # noqa: PLC0415
        from safellm.transports.http import guard_client  # noqa: PLC0415
        from safellm.transports.quick import use_quick  # noqa: PLC0415

        api: Any = self._api_client
        if api._httpx_client is not http or api._async_httpx_client is not async_http or api._use_aiohttp():  # noqa: SLF001
            raise ConfigurationError(
                f"google-genai {google.genai.__version__} doesn't use the HTTP clients that it is given",
                remedy="Use a version that safellm names as supported.",
            )
        address = api._http_options.base_url  # noqa: SLF001
        origin = origin_of(module.URL(address))
        if is_vertex(origin):
            setup.adapter = GoogleAdapter(origins=(*ADAPTER.origins, origin))
        driver = setup.driver(origin, in_code=in_code, native=native_error)
        # Strict mode makes connections of its own, which present no certificate.
        if not setup.policy.is_strict and _asks_with_certificate(api, given, (http, async_http)):
            driver.bounds = _with_twin(driver.bounds, origin, origin_of(module.URL(_api_client.to_mtls_url(address))))
        driver.raises = True
        use_quick(guard_client(http, driver, own=not (given.httpx_client or _aims(given.client_args))), text=True)
        use_quick(
            guard_client(async_http, driver, own=not (given.httpx_async_client or _aims(given.async_client_args))),
            text=True,
        )

    def close(self) -> None:
        """Close the client's connections; see the SDK's `close`."""
        super().close()
        if self._safellm_own:
            self._api_client._httpx_client.close()  # noqa: SLF001

    def __del__(self) -> None:
        # The connections close with the HTTP client. The SDK's own `__del__` closes them under the feet of `Client().models`.
        pass


def _aims(args: Mapping[str, Any] | None) -> bool:
    """Return whether the program's arguments for a client say how connections are made: then they are the program's own."""
    return not _CONNECTION_ARGS.isdisjoint(args or ())


async def _aclose(aio: Any, http: Any) -> None:
    await type(aio).aclose(aio)
    await http.aclose()


def _close(*transports: Any) -> None:
    for transport in transports:
        if transport is not None:
            transport.close()


def _http_options(given: Any) -> Any:
    if given is None:
        return types.HttpOptions()
    return types.HttpOptions.model_validate(given) if isinstance(given, Mapping) else given


def _uses_vertex(options: Mapping[str, Any]) -> bool:
    """Decide like the SDK between the Gemini API and Vertex AI."""
    for name in ("enterprise", "vertexai"):
        if options.get(name) is not None:
            return bool(options[name])
    for variable in _ENTERPRISE_VARIABLES:
        if variable in os.environ:
            return os.environ[variable].lower() in ("true", "1")
    return False


def _configured(*, vertex: bool) -> str | None:
    """Return the address that the program gave to the SDK for all clients, in code."""
    return getattr(_base_url, "_default_base_vertex_url" if vertex else "_default_base_gemini_url", None)


def _manage_key(setup: Setup, options: dict[str, Any], *, vertex: bool) -> None:
    setup.take_grant(options, "api_key")
    if options.get("api_key") is not None:
        setup.refuse_own_key()
        if setup.policy.is_strict:
            raise ConfigurationError(
                "Strict mode takes no key from code", remedy="Store it: safellm keys set google, and leave api_key out."
            )
        return
    if vertex:
        # With credentials, a project or a location, the SDK asks Google Cloud for tokens and leaves API keys alone.
        named = (options.get("credentials"), options.get("project"), options.get("location"))
        variables = ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION")
        if any(one is not None for one in named) or any(setup.environ.get(name) for name in variables):
            setup.refuse_own_key()
            return
    variable = next((name for name in _KEY_VARIABLES if setup.environ.get(name)), _KEY_VARIABLES[0])
    origins: tuple[Origin, ...] = (VERTEX if vertex else GEMINI,)
    options["api_key"] = setup.manage("google", variable, default_origins=origins)


def _refuse_recording(config: Any) -> None:
    mode = config.client_mode if config is not None else os.environ.get("GOOGLE_GENAI_CLIENT_MODE")
    if mode in ("record", "replay", "auto"):
        raise ConfigurationError(
            "Recordings for replay keep prompts and answers in files, as they were before any guard",
            remedy="Use the plain SDK to record and to replay.",
        )


def _refuse_foreign(given: Any) -> None:
    if getattr(given, "aiohttp_client", None) is not None:
        raise ConfigurationError(
            "An aiohttp session can't be guarded",
            remedy="Leave aiohttp_client out, or give an httpx or httpx2 client as httpx_async_client.",
        )


def _family(given: Any) -> ModuleType:
    """Return the HTTP library that the SDK would use: httpx2 or httpx."""
    choose = getattr(_api_client, "_get_http_client_backend", None)
    return importlib.import_module(choose(given) if choose is not None else "httpx")


def _client_args(given: Any, *, vertex: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the SDK would make its two HTTP clients with: authorities from variables, the machine's certificate, timeouts."""
    if given.httpx_client is not None and given.httpx_async_client is not None:
        return {}, {}  # both are the program's own
    ensure = _api_client.BaseApiClient._ensure_httpx_ssl_ctx  # noqa: SLF001 - the one place where the SDK decides it
    options: dict[str, Any] = {"vertexai": vertex} if "vertexai" in inspect.signature(ensure).parameters else {}
    made = ensure(given, **options)
    # Without an own timeout, interactions wait as long as the client says; HTTP libraries say five seconds.
    return {"timeout": None, **made[0]}, {"timeout": None, **made[1]}


def _asks_with_certificate(api: Any, given: Any, clients: tuple[Any, Any]) -> bool:
    """Send to Google's addresses for certificates, as the SDK does, if the clients present one; return whether one does."""
    if not hasattr(api, "_use_mtls_endpoint"):
        return False  # an SDK that doesn't know them
    for name, own, client in (
        ("_httpx_use_mtls_endpoint", given.httpx_client is None, clients[0]),
        ("_async_httpx_use_mtls_endpoint", given.httpx_async_client is None, clients[1]),
    ):
        loaded = own and _api_client._has_client_cert(getattr(client, "_safellm_verify", None))  # noqa: SLF001
        setattr(api, name, api._use_mtls_endpoint(client_cert_loaded=loaded))  # noqa: SLF001
    return bool(api._httpx_use_mtls_endpoint or api._async_httpx_use_mtls_endpoint)  # noqa: SLF001


def _with_twin(bounds: Bounds, origin: Origin, twin: Origin) -> Bounds:
    """Return bounds in which Google's address for certificates counts as the one that it stands for."""
    managed = tuple(
        replace(key, origins=key.origins | {twin}) if origin in key.origins else key for key in bounds.managed
    )
    return replace(bounds, origins=bounds.origins | {twin}, managed=managed)


def _sync_client(module: ModuleType, given: Any, args: dict[str, Any]) -> Any:
    from safellm.transports.http import guard_of, own_copy  # noqa: PLC0415

    if given.httpx_client is not None:
        _refuse_borrowed(guard_of(given.httpx_client))
        return own_copy(given.httpx_client)
    made = _own_class(module, "Sync") or module.Client
    return _remember(made(**{"follow_redirects": True, **args}), args)


def _own_class(module: ModuleType, way: str) -> Any:
    """Return the class that the SDK itself would take, at which programs and the SDK may look; None in some versions."""
    return getattr(_api_client, f"{way}{module.__name__.capitalize()}Client", None)


def _remember(client: Any, args: dict[str, Any]) -> Any:
    # What decides about the address: connections with a certificate are taken elsewhere.
    client._safellm_verify = args.get("verify")  # noqa: SLF001
    return client


def _async_client(module: ModuleType, given: Any, made: dict[str, Any]) -> tuple[Any, Any]:
    """Return the async client, and its pools if they are ours."""
    from safellm.transports.http import guard_of, own_copy  # noqa: PLC0415
    from safellm.transports.loops import per_loop  # noqa: PLC0415

    if given.httpx_async_client is not None:
        _refuse_borrowed(guard_of(given.httpx_async_client))
        _refuse_pools(given.httpx_async_client)
        return own_copy(given.httpx_async_client), None
    own = given.async_client_args or {}
    args = {"follow_redirects": True, **own, **made}
    # Arguments for aiohttp (`ssl`, `connector`) mean nothing to this client.
    known = inspect.signature(module.AsyncClient.__init__).parameters
    below = {name: value for name, value in args.items() if name in _TRANSPORT_ARGS and name in known}
    around = {name: value for name, value in args.items() if name not in _TRANSPORT_ARGS and name in known}
    if "ssl" in own and "verify" not in own:
        below["verify"] = own["ssl"]
    pool = per_loop(module, functools.partial(module.AsyncClient, **below))
    made_by = _own_class(module, "Async") or module.AsyncClient
    return _remember(made_by(transport=pool, **around), below), pool


def _refuse_borrowed(driver: object) -> None:
    if driver is not None:
        raise ConfigurationError(
            "The HTTP client already belongs to a guarded client, with its policy and its keys",
            remedy="Give each guarded client HTTP clients of its own, or none.",
        )


def _refuse_pools(client: Any) -> None:
    if getattr(client, "_per_loop", False):
        raise ConfigurationError(
            "This async client of google-genai keeps connections where no guard sees them",
            remedy="Give an AsyncClient of httpx or httpx2 itself, or none.",
        )
