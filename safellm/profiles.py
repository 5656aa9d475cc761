"""Servers that speak OpenAI's dialect, by name: where they are, which key they take, what is odd about them.

The data stands in `profiles.toml`. A profile changes nothing that the program says itself: `base_url=` and `api_key=` win.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from safellm._core.origin import Origin, parse_origin
from safellm.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One server.

    Attributes:
        name: As in `OpenAI(profile=…)`, and of its key in the vault.
        provider: Name in records and price lists.
        variable: Variable of its key.
        needs_key: False for servers on this machine that ask for none.
        asks_usage: Whether a stream tells its usage only when asked, and takes the question.
        usage_at: Keys that lead to the usage inside a stream's event, besides `usage`.
        cached: Key of the cached input tokens in a usage, besides OpenAI's.
        origins: Where its key may go; the first is that of `base_url`.
        check: Path of a GET that costs nothing and needs the key.
        header: Header that carries the key as it is; empty: `Authorization: Bearer`.
    """

    name: str
    title: str
    base_url: str
    provider: str
    variable: str
    needs_key: bool
    asks_usage: bool
    usage_at: tuple[str, ...]
    cached: str | None
    origins: tuple[Origin, ...]
    check: str
    header: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        return self.origins[0].is_loopback


@lru_cache(maxsize=1)
def profiles() -> dict[str, Profile]:
    """Return all profiles by name."""
    import tomllib  # noqa: PLC0415 - programs that call no model never need it
    from importlib.resources import files  # noqa: PLC0415

    data = tomllib.loads((files("safellm") / "profiles.toml").read_text("utf-8"))
    return {name: _profile(name, row) for name, row in data.items()}


def find_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        ConfigurationError: there is none of that name.
    """
    found = profiles().get(name.lower())
    if found is not None:
        return found
    if name.lower() == "azure":
        raise ConfigurationError("Azure has clients of its own", remedy="Use safellm.AzureOpenAI or AsyncAzureOpenAI.")
    import difflib  # noqa: PLC0415 - for the message only

    near = difflib.get_close_matches(name.lower(), profiles(), n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise ConfigurationError(
        f"There is no profile {name!r}",
        remedy=f"{hint}There are: {', '.join(profiles())}. Any other server works with base_url=.",
    )


@lru_cache(maxsize=256)
def profile_at(origin: Origin) -> Profile | None:
    """Return the profile of a hosted server at an origin; servers on this machine are known by name only."""
    return next((one for one in profiles().values() if not origin.is_loopback and origin in one.origins), None)


def _profile(name: str, row: dict[str, Any]) -> Profile:
    first = parse_origin(row["base_url"])
    return Profile(
        name=name,
        title=row["title"],
        base_url=row["base_url"],
        provider=row["provider"],
        variable=row["variable"],
        needs_key=row.get("key", True),
        asks_usage=row.get("usage", "ask") == "ask",
        usage_at=tuple(row["usage_at"].split(".")) if "usage_at" in row else (),
        cached=row.get("cached"),
        origins=(first, *(parse_origin(host) for host in row.get("hosts", ()))),
        check=row.get("check", f"/{row['base_url'].partition('://')[2].partition('/')[2]}/models".replace("//", "/")),
    )
