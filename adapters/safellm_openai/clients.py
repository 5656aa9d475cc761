"""The SDK's client classes with guarded transports. Everything else of them is untouched.

What differs from the SDK, and why:
* A key from the vault or a variable is managed: the client holds a placeholder, the transport puts the key on a copy of the
  request after the egress check (THREATS K.4). A key given as an argument is the program's own and stays what it is.
* An address from a variable counts only if it is bound or loopback (E.1). One given as an argument counts.
* A caller's `http_client` is copied (its connection pool is shared) and the copy's transport and mounts are guarded (E.4).
* Websockets of Responses (beta's too), Realtime (Azure's too), translations and live sessions are opened by the guard
  (`websocket.py`). Other websockets are refused: their traffic doesn't pass the guard yet.
* What is signed over its body is signed after the guards (`signing.py`, `provided.py`); the exchange of an X.509 identity for a
  token has a way of its own (`workload.py`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import openai
from safellm._core.origin import parse_origin
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.profiles import Profile, profile_at
from safellm.transports.urls import remembered
from safellm_openai.adapter import ADAPTER, OpenAIAdapter
from safellm_openai.errors import native_error
from safellm_openai.live import live_dialect
from safellm_openai.profiled import adapter_for
from safellm_openai.provided import construct as construct_provided
from safellm_openai.provided import follow
from safellm_openai.realtime import realtime_dialect
from safellm_openai.signing import AsyncSigning, Signing
from safellm_openai.sockets import responses_dialect
from safellm_openai.translations import translation_dialect
from safellm_openai.websocket import bind_given, guarded_resource
from safellm_openai.workload import ADAPTER as MUTUAL
from safellm_openai.workload import give_way, is_x509

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm.client import Setup
    from safellm.transports.driver import Driver

_Client = TypeVar("_Client", bound="type[_Guarded]")

# The client of which the SDK makes a copy in this thread.
_copying = threading.local()
_HAS_ADMIN_KEY = "admin_api_key" in inspect.signature(openai.OpenAI.__init__).parameters
_CREDENTIALS = ("api_key", "azure_ad_token", "azure_ad_token_provider", "workload_identity", "admin_api_key")
_NO_KEY = "no-key"
_AZURE_VARIABLES = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
# Older SDKs read the other variable too when they are given one of them; newer ones take one of them and no more.
_READS_BOTH = not hasattr(sys.modules[openai.AzureOpenAI.__module__], "_resolve_azure_auth")


class _Elsewhere(openai.Omit):
    """Leaves out the SDK's header for the key, because the key stands in another one."""


class _Guarded:
    """What every guarded client class adds to the SDK's."""

    _client: Any
    _safellm_websocket_url: object = None

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> Any:
        from safellm.transports.http import REFUSAL  # noqa: PLC0415

        error = response.extensions.get(REFUSAL)
        if isinstance(error, Refused):
            return native_error(error, response)
        return super()._make_status_error(err_msg, body=body, response=response)  # type: ignore[misc]  # the SDK's method

    def _validate_headers(self, headers: Any, custom_headers: Any) -> None:
        # The key of some providers stands in another header; newer SDKs heed an omission of one call only.
        if not isinstance(getattr(self, "_custom_headers", {}).get("Authorization"), _Elsewhere):
            super()._validate_headers(headers, custom_headers)  # type: ignore[misc]  # the SDK's method

    @property
    def websocket_base_url(self) -> Any:
        """Refuse: the SDK reads this when it is about to open a websocket that has no guard, and when it makes a copy."""
        if getattr(_copying, "client", None) is self:
            return self._safellm_websocket_url
        raise _no_websockets()

    @websocket_base_url.setter
    def websocket_base_url(self, value: object) -> None:
        # The SDK's constructor sets it. Guarded connections go there.
        self._safellm_websocket_url = value

    @property
    def base_url(self) -> Any:
        """Where the client sends. Another address that the program sets here is bound like one given as an argument."""
        return super().base_url  # type: ignore[misc]  # the SDK's property

    @base_url.setter
    def base_url(self, url: Any) -> None:
        from safellm.transports.http import guard_of  # noqa: PLC0415

        super(_Guarded, type(self)).base_url.fset(self, url)  # type: ignore[misc]  # the SDK's property
        driver = guard_of(getattr(self, "_client", None))  # none yet while the SDK's constructor runs
        if driver is not None:
            follow(driver, self.base_url)

    def _configure_realtime(self, *_: object, **__: object) -> NoReturn:
        # The Azure clients build a websocket address here instead; guarded connections ask the SDK's own method (`websocket.py`).
        raise _no_websockets()

    def copy(self, **options: Any) -> Any:
        """Return a client with other options under the same guard; see the SDK's `copy`."""
        from safellm.transports.http import guard_client, guard_of, own_copy  # noqa: PLC0415

        driver, http_client = guard_of(self._client), options.get("http_client")
        if driver is not None and http_client is not None and guard_of(http_client) is None:
            # Another HTTP client gets this client's guard: its policy, its keys, its bounds (THREATS E.4).
            options["http_client"] = guard_client(own_copy(http_client), driver)
        _copying.client = self
        try:
            return super().copy(**options)  # type: ignore[misc]  # the SDK's method
        finally:
            _copying.client = None

    with_options = copy


def _no_websockets() -> Refused:
    return Refused(
        "This websocket connection doesn't pass the guard yet",
        guard="mediation",
        reason=Reason.MEDIATION_UNSUPPORTED,
        remedy="Use responses.connect, realtime.connect or the HTTP endpoints, or the plain SDK for this one connection.",
    )


def _construct(  # noqa: PLR0913 - one call for each class, everything named
    client: Any,
    base: Any,
    settings: Mapping[str, object] | None,
    options: dict[str, Any],
    *,
    azure: bool,
    profile: str | None = None,
) -> None:
    """Make the SDK's client with placeholders for managed keys, then guard its transports."""
    from safellm.client import bind, origin_of, prepare, provider_of  # noqa: PLC0415 - loads when a client is made
    from safellm.transports.http import guard_client, guard_of, own_copy  # noqa: PLC0415
    from safellm.transports.quick import use_quick  # noqa: PLC0415

    if options.get("provider") is not None:
        construct_provided(client, base, settings, options)
        return
    http_client, x509 = options.get("http_client"), is_x509(options)
    in_code = any(_is_given(options.get(key)) for key in ("base_url", "azure_endpoint", "data_residency"))
    driver: Driver | None = guard_of(http_client)
    if driver is not None:
        # A copy of a guarded client (`with_options`): same transport, same keys; the address may be another one.
        _refuse_borrowed(settings if profile is None else {}, options)
        _refuse_own_credential(driver, options)
        base.__init__(client, **options)
        # What a variable says stays out: the calls of such a client are refused (THREATS E.1).
        if in_code or origin_of(client.base_url) in (*ADAPTER.origins, *(MUTUAL.origins if x509 else ())):
            bind(driver, client.base_url)
        if x509:
            give_way(client)
        return
    server = None if profile is None else provider_of(profile, settings)
    adapter = ADAPTER if azure else MUTUAL if x509 else _adapter_for(server, options)
    setup = prepare(adapter, settings, sdk=f"openai {openai.__version__}")
    if server is None:
        _manage_keys(setup, options, () if azure else (MUTUAL if x509 else ADAPTER).origins, azure=azure)
    else:
        _manage_profile_key(setup, server, options)
    if setup.vault_problem is not None:
        options.pop("_enforce_credentials", None)  # a missing key is told now, with the reason why there is none
    try:
        base.__init__(client, **options)
    except openai.OpenAIError as error:
        complains = any(words in str(error) for words in ("Missing credentials", "api_key"))  # newer and older SDKs
        if setup.vault_problem is not None and complains:
            raise openai.OpenAIError(f"{error} (safellm: {setup.vault_problem})") from None
        raise
    driver = setup.driver(origin_of(client.base_url), in_code=in_code, native=native_error)
    bind_given(client, driver)
    # `_client` is where the SDK keeps its HTTP client; there is no other way to guard the default one.
    made = client._client if http_client is None else own_copy(http_client)  # noqa: SLF001
    client._client = use_quick(guard_client(made, driver, own=http_client is None))  # noqa: SLF001
    if x509:
        give_way(client)


def _adapter_for(server: Profile | None, options: dict[str, Any]) -> OpenAIAdapter:
    """Return the dialect of the server: named by the program, or known by the address that the program gives."""
    if server is None:
        url = options.get("base_url")
        known = None
        if _is_given(url):
            with contextlib.suppress(ConfigurationError):  # an address that is none is for the SDK to complain about
                known = profile_at(parse_origin(str(url)))
        return ADAPTER if known is None else adapter_for(known)
    if not _is_given(options.get("base_url")):
        options["base_url"] = server.base_url  # given to the SDK, so it doesn't read OPENAI_BASE_URL
    # OpenAI's names of your organization and project, from OPENAI_ORG_ID and OPENAI_PROJECT_ID, are nobody else's business.
    own: dict[str, Any] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
    options["default_headers"] = {**own, **(options.get("default_headers") or {})}
    return adapter_for(server)


def _manage_profile_key(setup: Setup, profile: Profile, options: dict[str, Any]) -> None:
    setup.take_grant(options, "api_key")
    if options.get("api_key") is not None:
        _manage_keys(setup, options, (), azure=True)  # strict mode takes none from code
        _place_key(profile, options)
        return
    if (
        profile.needs_key
        or setup.grant is not None
        or setup.environ.get(profile.variable)
        or setup.may_have_stored(profile.name)
    ):
        options["api_key"] = setup.manage(profile.name, profile.variable, default_origins=profile.origins)
    if options.get("api_key") is None and not profile.needs_key:
        options["api_key"] = _NO_KEY  # the SDK insists on one, the server doesn't look
        return
    if options.get("api_key") is None:
        problem = setup.vault_problem
        raise openai.OpenAIError(
            f"There is no key for {profile.title}: run `safellm keys set {profile.name} --provider {profile.name} "
            f"--origin {profile.origins[0]}`, or set {profile.variable}"
            f"{'' if problem is None else f' (safellm: {problem})'}"
        )
    _place_key(profile, options)


def _place_key(profile: Profile, options: dict[str, Any]) -> None:
    """Have the key stand in the header that the server looks at."""
    if profile.header:
        own = {profile.header: options["api_key"], "Authorization": _Elsewhere()}
        options["default_headers"] = {**own, **(options.get("default_headers") or {})}


def _manage_keys(setup: Setup, options: dict[str, Any], origins: tuple[Origin, ...], *, azure: bool) -> None:
    setup.take_grant(options, "api_key", "azure_ad_token")
    given = [
        options.get(name) for name in ("api_key", "azure_ad_token", "azure_ad_token_provider", "workload_identity")
    ]
    if any(one is not None for one in given):
        setup.refuse_own_key()
        if setup.policy.is_strict:
            raise ConfigurationError(
                "Strict mode takes no key from code", remedy="Store it: safellm keys set openai, and leave api_key out."
            )
    elif azure:
        api_key, token = _AZURE_VARIABLES
        has_token = bool(setup.environ.get(token))
        if has_token:  # of both the SDK sends the token
            options["azure_ad_token"] = setup.manage("azure", token, default_origins=origins)
        if not has_token or (_READS_BOTH and setup.environ.get(api_key)):
            options["api_key"] = setup.manage("azure", api_key, default_origins=origins)
    else:
        options["api_key"] = setup.manage("openai", ADAPTER.key_variable, default_origins=origins)
    admin = "OPENAI_ADMIN_KEY"  # newer SDKs read it themselves
    if setup.grant is not None:  # it is for one key, and that is another
        if _HAS_ADMIN_KEY and options.get("admin_api_key") is not None:
            setup.refuse_own_key()
        if _HAS_ADMIN_KEY and setup.environ.get(admin):
            options["admin_api_key"] = ""  # given, so the SDK doesn't read the variable
    elif setup.environ.get(admin) and options.get("admin_api_key") is None and not azure and _HAS_ADMIN_KEY:
        options["admin_api_key"] = setup.manage("openai-admin", admin, default_origins=origins)


def _refuse_own_credential(driver: Driver, options: Mapping[str, Any]) -> None:
    """Refuse a credential that a copy brings to a guard which takes only the keys that it manages."""
    if not driver.tools.policy.is_strict and driver.grant is None and driver.broker is None:
        return
    known = (*driver.credentials, "", _NO_KEY)
    if any(_is_given(value := options.get(name)) and value not in known for name in _CREDENTIALS):
        raise ConfigurationError(
            "A copy of this client is given a key of its own, and strict mode and grants take none from code",
            remedy="Leave the key out, or make a client of its own with a key from the vault.",
        )


def _refuse_borrowed(settings: Mapping[str, object] | None, options: Mapping[str, Any]) -> None:
    if settings is not None or all(options.get(name) is None for name in _CREDENTIALS):
        raise ConfigurationError(
            "The http_client already belongs to a guarded client, with its policy and its keys",
            remedy="Use that client's with_options(), or give this one an http_client of its own.",
        )


def _is_given(value: object) -> bool:
    return value is not None and not isinstance(value, openai.NotGiven)


def _like(sdk: Any) -> Callable[[_Client], _Client]:
    """Give a guarded class the signatures of the SDK's class, for programs and editors that inspect them."""

    def dress(made: _Client) -> _Client:
        init: Any = made.__init__
        own = [one for name, one in inspect.signature(init).parameters.items() if name in ("profile", "safellm")]
        functools.update_wrapper(init, sdk.__init__)
        theirs = inspect.signature(sdk.__init__)
        init.__signature__ = theirs.replace(parameters=[*theirs.parameters.values(), *own])

        @functools.wraps(sdk.copy)
        def copy(self: Any, **options: Any) -> Any:
            return _Guarded.copy(self, **options)

        made.copy = made.with_options = copy  # type: ignore[method-assign]  # the same method, with another face
        return made

    return dress


class _Realtime:
    """What every client adds: Realtime over websockets, guarded."""

    @functools.cached_property
    def realtime(self) -> Any:
        """Realtime; `connect` opens a guarded websocket."""
        return guarded_resource(self, super().realtime, realtime_dialect)  # type: ignore[misc]  # the SDK's property

    @functools.cached_property
    def beta(self) -> Any:
        """What is in beta; of it the older Realtime opens a guarded websocket."""
        found = super().beta  # type: ignore[misc]  # the SDK's property
        if hasattr(type(found), "realtime"):
            guarded_resource(self, found.realtime, realtime_dialect)
        return found


class _Connecting(_Realtime):
    """What OpenAI's own clients add: Responses, translations and live sessions over websockets as well."""

    def _prepare_url(self, url: str) -> Any:
        return remembered(self, url, super()._prepare_url)  # type: ignore[misc]  # the SDK's method

    @functools.cached_property
    def beta(self) -> Any:
        """What is in beta; of it Responses and the older Realtime open guarded websockets."""
        found = super().beta
        if hasattr(type(found), "responses"):
            guarded_resource(self, found.responses, responses_dialect)
        return found

    if hasattr(openai.OpenAI, "live"):  # newer SDKs

        @functools.cached_property
        def live(self) -> Any:
            """Live sessions, their forks and sidebands; `connect` opens a guarded websocket."""
            found = super().live  # type: ignore[misc]  # the SDK's property
            for one in (found, found.forks, found.sideband):
                guarded_resource(self, one, live_dialect)
            return found

    @functools.cached_property
    def realtime(self) -> Any:
        """Realtime and its translations; their `connect` opens a guarded websocket."""
        found = super().realtime
        if hasattr(type(found), "translations"):
            guarded_resource(self, found.translations, translation_dialect)
        return found

    @functools.cached_property
    def responses(self) -> Any:
        """Responses; `connect` opens a guarded websocket."""
        return guarded_resource(self, super().responses, responses_dialect)  # type: ignore[misc]  # the SDK's property


@_like(openai.OpenAI)
class OpenAI(_Guarded, _Connecting, Signing, openai.OpenAI):
    """`openai.OpenAI`, guarded. Takes the SDK's arguments and two more.

    `safellm=` is a mapping of policy values for this client, `profile=` the name of another server (`safellm.profiles`).
    """

    def __init__(
        self, *, profile: str | None = None, safellm: Mapping[str, object] | None = None, **options: Any
    ) -> None:
        _construct(self, openai.OpenAI, safellm, options, azure=False, profile=profile)


@_like(openai.AsyncOpenAI)
class AsyncOpenAI(_Guarded, _Connecting, AsyncSigning, openai.AsyncOpenAI):
    """`openai.AsyncOpenAI`, guarded. Takes the SDK's arguments, `safellm=` and `profile=`."""

    def __init__(
        self, *, profile: str | None = None, safellm: Mapping[str, object] | None = None, **options: Any
    ) -> None:
        _construct(self, openai.AsyncOpenAI, safellm, options, azure=False, profile=profile)


@_like(openai.AzureOpenAI)
class AzureOpenAI(_Guarded, _Realtime, openai.AzureOpenAI):
    """`openai.AzureOpenAI`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        _construct(self, openai.AzureOpenAI, safellm, options, azure=True)


@_like(openai.AsyncAzureOpenAI)
class AsyncAzureOpenAI(_Guarded, _Realtime, openai.AsyncAzureOpenAI):
    """`openai.AsyncAzureOpenAI`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        _construct(self, openai.AsyncAzureOpenAI, safellm, options, azure=True)


if TYPE_CHECKING:
    from openai import AsyncBedrockOpenAI as _SDKAsyncBedrock
    from openai import BedrockOpenAI as _SDKBedrock
else:  # older SDKs have none
    _SDKBedrock = getattr(openai, "BedrockOpenAI", openai.OpenAI)
    _SDKAsyncBedrock = getattr(openai, "AsyncBedrockOpenAI", openai.AsyncOpenAI)


@_like(_SDKBedrock)
class BedrockOpenAI(_Guarded, _Realtime, Signing, _SDKBedrock):
    """`openai.BedrockOpenAI`, guarded: signed after the guards. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        _refuse_older(_SDKBedrock)
        construct_provided(self, _SDKBedrock, safellm, options)


@_like(_SDKAsyncBedrock)
class AsyncBedrockOpenAI(_Guarded, _Realtime, AsyncSigning, _SDKAsyncBedrock):
    """`openai.AsyncBedrockOpenAI`, guarded: signed after the guards. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        _refuse_older(_SDKAsyncBedrock)
        construct_provided(self, _SDKAsyncBedrock, safellm, options)


def _refuse_older(base: Any) -> None:
    if base in (openai.OpenAI, openai.AsyncOpenAI):
        raise ConfigurationError(
            f"openai {openai.__version__} has no clients for Bedrock",
            remedy="Install a newer one: pip install -U openai.",
        )
