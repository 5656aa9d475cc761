"""The kinds of client: which arguments of each carry a credential or an address, and which addresses are the provider's own."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
from safellm.errors import ConfigurationError
from safellm_anthropic.adapter import ADAPTER

if TYPE_CHECKING:
    from safellm._core.origin import Origin
    from safellm.transports.driver import Driver


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What is to be known of one kind of client.

    Attributes:
        keys: (argument, name in the vault, variable) of the keys that safellm may manage, in order of preference.
        given: Arguments that carry a credential of the program's own.
        address: Arguments that say where to send.
        hosts: Hosts that the SDK itself makes from a region or a project; None where there is only one.
        chain: The SDK looks further for credentials by itself (profiles, workload identities, a cloud's own ways).
        signs: Requests are signed over their body.
    """

    keys: tuple[tuple[str, str, str], ...] = ()
    given: tuple[str, ...]
    address: tuple[str, ...] = ("base_url",)
    hosts: re.Pattern[str] | None = None
    chain: bool = True
    signs: bool = False

    def is_said(self, options: Mapping[str, Any]) -> bool:
        """Return whether the arguments say where to send: an address given in code counts (THREATS E.1)."""
        return any(is_given(options.get(name)) for name in self.address) or "base_url" in (options.get("config") or {})

    def is_own(self, origin: Origin) -> bool:
        """Return whether the SDK makes this address by itself, from a region or a project."""
        return self.hosts is not None and origin.scheme == "https" and self.hosts.fullmatch(origin.host) is not None


ANTHROPIC = Platform(
    keys=(
        ("api_key", "anthropic", "ANTHROPIC_API_KEY"),
        ("auth_token", "anthropic-auth-token", "ANTHROPIC_AUTH_TOKEN"),
    ),
    given=("api_key", "auth_token", "credentials", "config", "profile"),
)
FOUNDRY = Platform(
    keys=(("api_key", "anthropic-foundry", "ANTHROPIC_FOUNDRY_API_KEY"),),
    given=("api_key", "azure_ad_token_provider"),
    address=("base_url", "resource"),
)
VERTEX = Platform(
    given=("access_token", "credentials"),
    hosts=re.compile(r"(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com|aiplatform\.(?:us|eu)\.rep\.googleapis\.com"),
)
GOOGLE_CLOUD = Platform(
    given=("credentials", "token_provider", "skip_auth"), hosts=re.compile(r"claude\.googleapis\.com")
)
_AWS_KEYS = (
    "api_key",
    "auth_token",
    "aws_access_key",
    "aws_secret_key",
    "aws_session_token",
    "aws_profile",
    "skip_auth",
)
AWS = Platform(given=_AWS_KEYS, hosts=re.compile(r"aws-external-anthropic\.[a-z0-9-]+\.api\.aws"), signs=True)
MANTLE = Platform(given=_AWS_KEYS, hosts=re.compile(r"bedrock-mantle\.[a-z0-9-]+\.api\.aws"), signs=True)


def is_given(value: object) -> bool:
    """Return whether an argument of the SDK says something."""
    return value is not None and not isinstance(value, anthropic.NotGiven)


def follow(driver: Driver, client: Any, options: Mapping[str, Any], platform: Platform) -> None:
    """Let a guard send where another client of it sends, if the program says so or the address is the provider's own.

    What comes from a variable or a profile stays out: such a client's calls are refused (THREATS E.1).

    Raises:
        ConfigurationError: it is no usable address, or strict mode takes none from code.
    """
    from safellm.client import bind, origin_of  # noqa: PLC0415 - the guard's modules load when a client is made

    origin = origin_of(client.base_url) if client.base_url.host else None  # some are made at the first call
    if origin is not None and (platform.is_said(options) or platform.is_own(origin) or origin in ADAPTER.origins):
        bind(driver, client.base_url)


def refuse_own_credential(driver: Driver, options: Mapping[str, Any], platform: Platform) -> None:
    """Refuse a credential that the program brings to a guard which takes only the keys that it manages.

    Raises:
        ConfigurationError: it does, in strict mode or under a grant.
    """
    if not driver.tools.policy.is_strict and driver.grant is None and driver.broker is None:
        return
    managed = tuple(driver.credentials)
    if any(is_given(options.get(name)) and options[name] not in managed for name in platform.given):
        raise ConfigurationError(
            "A copy of this client is given a key of its own, and strict mode and grants take none from code",
            remedy="Leave the key out, or make a client of its own with a key from the vault.",
        )
