"""User names in log lines and sentences."""

# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.detection.context import Spans

# Names of programs, roles and types, which are no people.
_NOT_PEOPLE = frozenset(
    "root admin administrator postgres mysql redis mongo oracle nobody daemon system guest test user users "
    "username string str null none true false undefined optional required default value text varchar anonymous "
    "public service bot www-data nginx apache ubuntu ec2-user git jenkins runner node app application api client "
    "server int integer object self name not already invalid missing unknown empty unique taken available your "
    "the set changed valid stored incomplete final any bytes object present used given provided specified correct incorrect case "
    "also only an still no both in of for always longer http https basic".split()
)


def username(text: str, start: int, end: int) -> Spans:
    """Accept a name that isn't a role, a type or code."""
    name = text[start:end].rstrip(".-")
    after = text[start + len(name) : start + len(name) + 3]
    if name.lower() in _NOT_PEOPLE or after.lstrip(" ")[:1] in {"(", "[", "=", "<", "{"}:
        return ()
    if name.rpartition(".")[2].lower() in _NOT_PEOPLE:  # self.username
        return ()
    return ((start, start + len(name)),)
