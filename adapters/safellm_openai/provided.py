"""Making guarded clients of Bedrock and Vertex: `BedrockOpenAI`, and `OpenAI(provider=…)`.

* A Bedrock key from the vault or from `AWS_BEARER_TOKEN_BEDROCK` is managed: the client holds a placeholder (THREATS K.4).
* AWS credentials stay where the SDK finds them; it signs what leaves, after the guards (`signing.py`).
* An address counts if it is the platform's own, of the region, or given in code; one from a variable only if it is bound (E.1).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import openai
from safellm.errors import ConfigurationError
from safellm_openai.adapter import OpenAIAdapter
from safellm_openai.errors import native_error
from safellm_openai.platforms import BEDROCK, VERTEX, is_own, platform_at
from safellm_openai.signing import bearer_of

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm.client import Setup
    from safellm.transports.driver import Driver

_KEY, _VARIABLE, _ADDRESS = "bedrock", "AWS_BEARER_TOKEN_BEDROCK", "AWS_BEDROCK_BASE_URL"
_PLATFORMS = {"bedrock": BEDROCK, "vertex": VERTEX}  # by the SDK's name of a provider
_BEDROCK_GIVEN = (
    "api_key", "bedrock_token_provider", "aws_profile", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
    "aws_credentials_provider",
)  # fmt: skip
_PROVIDER_GIVEN = ("api_key", "token_provider", "access_key_id", "profile", "credential_provider", "credentials")
_COPIED = ("_provider", "_region_was_explicit")  # what the SDK's `copy` of a Bedrock client gives, and no program does


class PlatformAdapter(OpenAIAdapter):
    """OpenAI's dialect on another platform, wherever that is reached."""

    key_variable = _VARIABLE

    def __init__(self, platform: str, origins: tuple[Origin, ...]) -> None:
        self.provider = platform
        self.origins = origins

    def provider_of(self, origin: Origin) -> str:
        """Return the platform's name in records; that of another platform at its own hosts."""
        return platform_at(origin.host) or self.provider


@cache
def _adapter(platform: str, *origins: Origin) -> PlatformAdapter:
    return PlatformAdapter(platform, origins)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a program asks for.

    Attributes:
        platform: As OpenTelemetry names it.
        given: It brings a credential of its own.
        by_variable: The SDK takes the key from the variable.
        definition: Of a `provider=`, as the SDK keeps it.
    """

    platform: str
    given: tuple[object, ...]
    by_variable: bool
    definition: Any = None


def construct(client: Any, base: Any, settings: Mapping[str, object] | None, options: dict[str, Any]) -> None:
    """Make the SDK's client with placeholders for managed keys, then guard its transports.

    Args:
        client: An instance whose constructor has not run.
        base: The SDK's class, whose constructor will run.
        settings: Policy values given in code.
        options: The SDK's arguments.

    Raises:
        ConfigurationError: something can't be guarded, or may not be used here.
    """
    from safellm.client import origin_of, prepare  # noqa: PLC0415 - the guard's modules load when a client is made
    from safellm.transports.http import guard_client, guard_of, own_copy  # noqa: PLC0415
    from safellm.transports.quick import use_quick  # noqa: PLC0415

    http_client = options.get("http_client")
    driver = guard_of(http_client)
    if driver is not None:
        _borrow(client, base, settings, options, driver)
        return
    setup = prepare(_adapter(BEDROCK), settings, sdk=f"openai {openai.__version__}")
    asked = _asked(options, setup.environ)
    placeholder = _managed(setup, asked)
    if placeholder is not None and asked.definition is None:
        options["api_key"] = placeholder
    base.__init__(client, **options)
    if placeholder is not None and asked.definition is not None:
        _hold(client, placeholder)
    origin = origin_of(client.base_url)
    setup.adapter = _adapter(asked.platform)
    if is_own(origin, asked.platform):
        setup.adapter = _adapter(asked.platform, origin)
        setup.keys = {name: key if key.origins else replace(key, origins=(origin,)) for name, key in setup.keys.items()}
    driver = setup.driver(origin, in_code=_is_said(client, asked, options, setup.environ), native=native_error)
    # `_client` is where the SDK keeps its HTTP client; there is no other way to guard the default one.
    made = client._client if http_client is None else own_copy(http_client)  # noqa: SLF001
    client._client = use_quick(guard_client(made, driver, own=http_client is None))  # noqa: SLF001


def _borrow(
    client: Any, base: Any, settings: Mapping[str, object] | None, options: dict[str, Any], driver: Driver
) -> None:
    """Make a copy of a guarded client (`with_options`): same transport, same keys; region and address may be others."""
    from safellm.client import origin_of  # noqa: PLC0415
    from safellm.stores.environment import read_environment  # noqa: PLC0415

    environ = read_environment()
    asked = _asked(options, environ)
    is_copy = asked.definition is not None or any(name in options for name in _COPIED)
    if settings is not None or not (is_copy or asked.given):
        raise ConfigurationError(
            "The http_client already belongs to a guarded client, with its policy and its keys",
            remedy="Use that client's with_options(), or give this one an http_client of its own.",
        )
    managed = {one.placeholder for one in driver.bounds.managed}
    limited = driver.tools.policy.is_strict or driver.grant is not None or driver.broker is not None
    # Credentials that the platform's own ways find are the program's as well.
    is_foreign = asked.definition is not None and not (asked.given or asked.by_variable)
    if limited and (is_foreign or not all(isinstance(one, str) and one in managed for one in asked.given)):
        raise ConfigurationError(
            "A copy of this client is given a credential of its own, and strict mode and grants take none from code",
            remedy="Leave it out, or make a client of its own with a key from the vault.",
        )
    placeholder = next(iter(managed), None) if driver.tools.adapter.provider == BEDROCK else None
    if asked.by_variable and options.get("_provider") is None and placeholder is None:
        raise ConfigurationError(
            f"A copy of this client would take a key from {_VARIABLE}, which its guard doesn't know",
            remedy="Make a client of its own, not a copy: OpenAI(provider=…) or BedrockOpenAI().",
        )
    base.__init__(client, **options)
    if asked.by_variable and asked.definition is not None and placeholder is not None:
        _hold(client, placeholder)
    # What a variable says stays out: the calls of such a client are refused (THREATS E.1).
    if is_own(origin_of(client.base_url), asked.platform) or _is_said(client, asked, options, environ):
        follow(driver, client.base_url)


def follow(driver: Driver, url: Any) -> None:
    """Let a guard send to another address that the program sets; a platform's key from a variable follows to its own hosts.

    Raises:
        ConfigurationError: strict mode takes no address from code.
    """
    from safellm.client import bind, origin_of  # noqa: PLC0415

    adapter = driver.tools.adapter
    bind(driver, url, keys=isinstance(adapter, PlatformAdapter) and is_own(origin_of(url), adapter.provider))


def _asked(options: Mapping[str, Any], environ: Mapping[str, str]) -> _Asked:
    is_set = bool(environ.get(_VARIABLE))
    provider = options.get("provider")
    if provider is None:
        given = tuple(one for name in _BEDROCK_GIVEN if (one := options.get(name)) is not None)
        return _Asked(platform=BEDROCK, given=given, by_variable=is_set and not given)
    from openai._provider import _get_provider_definition  # noqa: PLC0415 - newer SDKs only

    definition: Any = _get_provider_definition(provider)
    if definition.name not in _PLATFORMS:
        raise ConfigurationError(
            f"provider= is of a kind that safellm doesn't know ({definition.name}): nobody knows what it signs",
            remedy="Use the provider's OpenAI-compatible endpoint with base_url and api_key.",
        )
    given = tuple(one for name in _PROVIDER_GIVEN if (one := getattr(definition, name, None)) is not None)
    by_variable = bool(getattr(definition, "use_environment_bearer", False))
    return _Asked(platform=_PLATFORMS[definition.name], given=given, by_variable=by_variable, definition=definition)


def _managed(setup: Setup, asked: _Asked) -> str | None:
    """Return the placeholder of the managed key; None where the SDK finds credentials by itself, or the program gives them."""
    if asked.given:
        setup.refuse_own_key()
        if setup.policy.is_strict:
            raise ConfigurationError(
                "Strict mode takes no credential from code", remedy="Store a Bedrock key: safellm keys set bedrock."
            )
        return None
    of_provider = asked.definition is not None
    wanted = asked.by_variable or (not of_provider and (setup.policy.is_strict or _may_have(setup)))
    placeholder = setup.manage(_KEY, _VARIABLE, default_origins=()) if wanted else None
    if placeholder is None:
        setup.refuse_own_key()
        if setup.policy.is_strict:
            raise ConfigurationError(
                "Strict mode takes keys from the vault only, and these credentials come from elsewhere",
                remedy="Store a Bedrock key (safellm keys set bedrock) and use BedrockOpenAI.",
            )
    return placeholder


def _may_have(setup: Setup) -> bool:
    """Return whether there may be a key of ours: without one, AWS's own credentials are used, and no vault is asked."""
    from safellm.client import GRANT_VARIABLE  # noqa: PLC0415
    from safellm.stores.places import find_places  # noqa: PLC0415
    from safellm.stores.vault.sealed_file import FILE_NAME  # noqa: PLC0415
    from safellm.stores.vault.secret_files import find_secret_file  # noqa: PLC0415

    environ = setup.environ
    if setup.grant is not None or setup.broker is not None or environ.get(GRANT_VARIABLE) or environ.get(_VARIABLE):
        return True
    if setup.may_have_stored(_KEY) or (find_places(environ).state / FILE_NAME).exists():
        return True
    named = setup.policy.keys.name or _KEY
    return (
        find_secret_file((named, _VARIABLE, _VARIABLE.lower()), variable=f"{_VARIABLE}_FILE", environ=environ)
        is not None
    )


def _hold(client: Any, placeholder: str) -> None:
    """Have a client of `provider=` hold a placeholder, where the SDK would read the variable before each call."""
    bearer = bearer_of(client._provider_runtime)  # noqa: SLF001 - the SDK's one place for it
    if bearer is None or not hasattr(bearer, "_token_provider"):
        raise ConfigurationError(
            f"openai {openai.__version__} takes the key from {_VARIABLE} in a way that safellm doesn't know",
            remedy="Use BedrockOpenAI, or a version of openai that safellm names as supported.",
        )
    bearer._token_provider = lambda: placeholder  # noqa: SLF001 - the same


def _is_said(client: Any, asked: _Asked, options: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Return whether the program says where to send, rather than a variable."""
    from safellm.client import origin_of  # noqa: PLC0415

    if asked.definition is None:
        url = options.get("base_url")
        return url is not None and not isinstance(url, openai.NotGiven) and bool(str(url).strip())
    said, url = environ.get(_ADDRESS, "").strip(), client.base_url
    if asked.platform != BEDROCK or not said:
        return True
    try:
        # What a provider was made with isn't told. What the variable says as well counts as the variable's.
        return origin_of(type(url)(said)) != origin_of(url)
    except Exception:  # noqa: BLE001 - what can't be compared is the variable's, which is the stricter
        return False
