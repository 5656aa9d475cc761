"""Which requests go to a language model, by where they go: the providers' own origins, the profiles', the policy's."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from safellm._core.origin import Origin
from safellm.auto.table import DIALECTS, Dialect

if TYPE_CHECKING:
    from safellm._core.adapter import Adapter
    from safellm.profiles import Profile

_ADDRESSLESS = frozenset({"azure", "anthropic-foundry", "bedrock"})  # each customer or region has an address of its own
# Keys of an SDK that `install()` lends no placeholders for: (their name, the dialect's).
_MORE_KEYS = {"openai-admin": "openai", "anthropic-auth-token": "anthropic", "anthropic-foundry": "anthropic"}
_NOWHERE = Origin("https", "safellm.invalid", 443)
_LLM_PATH = re.compile(
    r"/(?:chat/completions|responses|completions|embeddings|messages|api/(?:chat|generate|embed))/?$"
    r"|:(?:streamGenerateContent|generateContent|predict|rawPredict|streamRawPredict|embedContent)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request goes, and who can guard it; no adapter means that nobody can, yet."""

    origin: Origin
    dialect: Dialect
    profile: Profile | None = None

    @property
    def name(self) -> str:
        """The provider, for people."""
        return self.profile.title if self.profile is not None else self.dialect.title


def find_target(origin: Origin, path: str) -> Target | None:
    """Return what is known about an origin, None for one that is no language model's.

    Args:
        origin: Where the request goes.
        path: Of the request; some hosts have more than one tenant.
    """
    for candidate in _candidates(origin):
        prefixes = candidate.dialect.paths_of(origin.host)
        if candidate.profile is not None or not prefixes or path.startswith(prefixes):
            return candidate
    return None


def target_named(provider: str, origin: Origin) -> Target:
    """Return who guards calls with a provider's key, wherever they go: by the provider's name, then by the address.

    Args:
        provider: As it stands with a key: a profile, a dialect, or one of the names that a dialect's keys have.
        origin: Where the call goes.
    """
    from safellm.profiles import profiles  # noqa: PLC0415 - see below

    profile = profiles().get(provider)
    if profile is not None:
        return Target(origin=origin, dialect=dialect_named("openai"), profile=profile)
    dialect = _dialect_of_key(provider)
    if dialect is not None:
        return Target(origin=origin, dialect=dialect)
    return find_target(origin, "/") or Target(origin=origin, dialect=dialect_named("openai"))


def is_provider(name: str) -> bool:
    """Return whether a name is a profile's, a dialect's, or that of one of a dialect's keys."""
    from safellm.profiles import profiles  # noqa: PLC0415 - see below

    return name in profiles() or _dialect_of_key(name) is not None


def own_origins(provider: str) -> tuple[Origin, ...]:
    """Return where keys of a provider may go unless somebody says otherwise; empty where nobody can know.

    Args:
        provider: A profile, a dialect, or one of the names that a dialect's keys have.
    """
    from safellm.auto.gate import load_adapter  # noqa: PLC0415 - it imports this module
    from safellm.profiles import profiles  # noqa: PLC0415 - see below

    profile = profiles().get(provider)
    if profile is not None:
        return profile.origins
    dialect = _dialect_of_key(provider)
    if dialect is None or provider in _ADDRESSLESS:
        return ()
    adapter: Adapter = load_adapter(Target(origin=_NOWHERE, dialect=dialect))
    return adapter.origins


def looks_like_llm(path: str) -> bool:
    """Return whether a path is one that language models answer, whatever the host; for reports, never for guarding."""
    return _LLM_PATH.search(path) is not None


def dialect_named(name: str) -> Dialect:
    """Return a dialect by its name."""
    return next(one for one in DIALECTS if one.name == name)


def _dialect_of_key(name: str) -> Dialect | None:
    name = _MORE_KEYS.get(name, name)
    known = (one for one in DIALECTS if one.adapter and one.keys)
    return next((one for one in known if name == one.name or any(name == key for key, _ in one.keys)), None)


@lru_cache(maxsize=1024)
def _candidates(origin: Origin) -> tuple[Target, ...]:
    from safellm.profiles import profiles  # noqa: PLC0415 - read when the first request is looked at

    found = [Target(origin=origin, dialect=one) for one in DIALECTS if one.has(origin.host)]
    openai = dialect_named("openai")
    for profile in profiles().values():
        # Servers on this machine have ports that other servers use as well: they are known once an SDK goes there.
        same = not origin.is_loopback and any(origin.host == one.host for one in profile.origins)
        if same and not any(one.dialect.has(origin.host) for one in found):
            found.append(Target(origin=origin, dialect=openai, profile=profile))
    return tuple(found)
