"""Whose call it is, as records may say it: users by a keyed pseudonym, and labels as they are unless they look personal.

A pseudonym is `u-` and half of HMAC-SHA256 under the installation's key: the same for the same name on this installation,
unlinkable to those of others, and not to be found by trying names without the key (THREATS L.6).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from safellm._core.digest import keyed_digest
from safellm._core.effects import JSON
from safellm._core.limits import KNOWN, value_text

if TYPE_CHECKING:
    from safellm._core.call import Call, Tools

USER: Final = "user"
_DIGITS: Final = 32  # hexadecimal: 128 bits
_LONGEST: Final = 128  # characters of a label in a record
_MOST_LABELS: Final = 16


def pseudonym(key: bytes, value: str) -> str:
    """Return the name that records have for a user: `u-3f2a…`, or nothing for nobody."""
    return _pseudonym(key, value) if value else ""


@lru_cache(maxsize=1024)
def _pseudonym(key: bytes, value: str) -> str:
    return f"u-{keyed_digest(key, USER.encode(), value.encode('utf-8', 'surrogatepass'))[:_DIGITS]}"


def fields_of(tools: Tools, said: Mapping[str, str]) -> dict[str, JSON]:
    """Return what a record says of whose call it is: `user.id`, and the labels that policy and program set.

    Args:
        tools: Policy, key and scanner of the client.
        said: The call's labels.
    """
    found: dict[str, JSON] = {}
    kind = tools.policy.audit.users
    if kind != "off" and said.get(USER):
        found["user.id"] = pseudonym(tools.key, said[USER]) if kind == "pseudonym" else _cut(said[USER])
    if len(said) > len(_ALWAYS.intersection(said)):
        names = sorted(name for name in said if name not in _ALWAYS)[:_MOST_LABELS]
        labels: dict[str, JSON] = {name: _shown(tools, said[name]) for name in names}
        found["safellm.labels"] = labels
    return found


def account_shown(call: Call, name: str) -> str:
    """Return the name of an account as records may say it: what is personal in it by its pseudonym."""
    for label, value in call.said.items():
        part = f"|{label}={value_text(value)}"
        if part not in f"{name}|":
            continue
        shown = _shown(call.tools, value) if label != USER else _user_shown(call.tools, value)
        name = f"{name}|".replace(f"{part}|", f"|{label}={value_text(shown)}|").removesuffix("|")
    return name


def _user_shown(tools: Tools, value: str) -> str:
    return value if tools.policy.audit.users == "plain" else pseudonym(tools.key, value)


def _shown(tools: Tools, value: str) -> str:
    """Return a label's value; one in which personal data or a secret is found, or that is registered, by its pseudonym."""
    if tools.scanner.scan(value) or (tools.registered is not None and tools.registered.find(value)):
        return pseudonym(tools.key, value)
    return _cut(value)


def _cut(value: str) -> str:
    return value[:_LONGEST].encode("utf-8", "replace").decode("utf-8")


_ALWAYS: Final = frozenset({USER, *KNOWN})  # they have fields of their own
