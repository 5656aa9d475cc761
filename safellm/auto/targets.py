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
    from safellm.profiles import Profile

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


def looks_like_llm(path: str) -> bool:
    """Return whether a path is one that language models answer, whatever the host; for reports, never for guarding."""
    return _LLM_PATH.search(path) is not None


def dialect_named(name: str) -> Dialect:
    """Return a dialect by its name."""
    return next(one for one in DIALECTS if one.name == name)


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
