"""Making a guarded client: the SDK's own, with placeholders for managed keys and guarded transports."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anthropic
from safellm.errors import ConfigurationError
from safellm_anthropic.adapter import ADAPTER
from safellm_anthropic.errors import native_error
from safellm_anthropic.platforms import Platform, follow, is_given, refuse_own_credential
from safellm_anthropic.quiet import quieten_log, refuse_content, without_content
from safellm_anthropic.signing import sign_below

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm.client import Setup


def construct(
    client: Any, base: Any, settings: Mapping[str, object] | None, options: dict[str, Any], platform: Platform
) -> None:
    """Make the SDK's client, then guard its transports.

    Args:
        client: An instance whose constructor has not run.
        base: The SDK's class, whose constructor will run.
        settings: Policy values given in code.
        options: The SDK's arguments.
        platform: Which keys and addresses there are.

    Raises:
        ConfigurationError: something can't be guarded, or may not be used here.
    """
    from safellm.client import prepare  # noqa: PLC0415 - the guard's modules load when a client is made
    from safellm.transports.http import guard_client, guard_of, own_copy  # noqa: PLC0415
    from safellm.transports.quick import use_quick  # noqa: PLC0415

    quieten_log()
    refuse_content(options.get("open_telemetry"))
    http_client = options.get("http_client")
    driver = guard_of(http_client)
    if driver is not None:
        # A copy of a guarded client (`with_options`): same transport, same keys; the address may be another one.
        _refuse_borrowed(settings, options, platform)
        refuse_own_credential(driver, options, platform)
        base.__init__(client, **options)
        without_content(client)
        follow(driver, client, options, platform)
        return
    setup = prepare(ADAPTER, settings, sdk=f"anthropic {anthropic.__version__}")
    in_code = platform.is_said(options)
    _manage_keys(setup, options, platform)
    base.__init__(client, **options)
    without_content(client)
    origin = _origin(client, setup, platform)
    driver = setup.driver(origin, in_code=in_code, native=native_error)
    # `_client` is where the SDK keeps its HTTP client; there is no other way to guard the default one.
    own = client._client if http_client is None else own_copy(http_client)  # noqa: SLF001
    made = sign_below(own) if platform.signs else own
    client._client = use_quick(guard_client(made, driver, own=http_client is None))  # noqa: SLF001


def _manage_keys(setup: Setup, options: dict[str, Any], platform: Platform) -> None:
    setup.take_grant(options, *(argument for argument, _, _ in platform.keys))
    if any(is_given(options.get(name)) for name in platform.given):
        setup.refuse_own_key()
        if setup.policy.is_strict:
            raise ConfigurationError(
                "Strict mode takes no key from code",
                remedy="Store it: safellm keys set anthropic, and leave the argument out.",
            )
        return
    first = True
    for argument, name, variable in platform.keys:
        # The vault is asked for the first name; the others are there for programs that are configured by variables.
        if first or setup.environ.get(variable):
            placeholder = setup.manage(name, variable, default_origins=ADAPTER.origins)
            if placeholder is not None:
                options[argument] = placeholder
                return
        first = False
    setup.refuse_own_key()
    if setup.policy.is_strict:
        raise ConfigurationError(
            "Strict mode takes keys from the vault only, and there is none for this client",
            remedy="Store it: safellm keys set anthropic.",
        )


def _origin(client: Any, setup: Setup, platform: Platform) -> Origin:
    from safellm._core.origin import Origin  # noqa: PLC0415
    from safellm.client import origin_of  # noqa: PLC0415

    host = client.base_url.host
    if not host and platform.hosts is not None:
        # The SDK makes the address at the first call, once it knows the project; its host is always the same.
        origin = Origin("https", "claude.googleapis.com", 443)
    else:
        origin = origin_of(client.base_url)
    if platform.is_own(origin):
        setup.adapter = replace(ADAPTER, origins=(origin,))
    return origin


def _refuse_borrowed(settings: Mapping[str, object] | None, options: Mapping[str, Any], platform: Platform) -> None:
    names = (*platform.given, *(argument for argument, _, _ in platform.keys))
    if settings is not None or not any(is_given(options.get(name)) for name in names):
        raise ConfigurationError(
            "The http_client already belongs to a guarded client, with its policy and its keys",
            remedy="Use that client's with_options(), or give this one an http_client of its own.",
        )
