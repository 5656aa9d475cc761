"""Which limits a call falls under: those whose `where` matches its labels, each on the account of its `per` values.

A label is a name and a text: what is known of every call (`provider`, `model`, `operation`, `key`, `grant`, `process`), the user,
and what the program says of it. A label that is missing is the empty text: calls without one share an account, so that leaving it
out gives nobody more room.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import quote

from safellm._core.effects import Limit

# What a program can't say of a call, as it is known better.
KNOWN: Final = frozenset({"provider", "model", "operation", "key", "process", "grant"})
_LONGEST: Final = 96  # characters of a value in an account's name
_PLAIN: Final = "/:@+"  # that stay as they are, besides letters, digits and `_.-~`


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit of the policy before it meets a call.

    Attributes:
        limit: Its name is the account of a limit without `per`.
        per: Labels each of whose values has an account of its own.
        where: Labels and the patterns that they must match; `*`, `?` and `[...]` as in file names.
    """

    limit: Limit
    per: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()


def resolve(rules: Sequence[Rule], labels: Mapping[str, str]) -> tuple[Limit, ...]:
    """Return the limits of a call with these labels, in the order of the rules."""
    return tuple(
        replace(rule.limit, name=account(rule, labels)) if rule.per else rule.limit
        for rule in rules
        if all(fnmatchcase(labels.get(name, ""), pattern) for name, pattern in rule.where)
    )


def account(rule: Rule, labels: Mapping[str, str]) -> str:
    """Return the name of the account of a rule for these labels: `default|team=red|model=gpt-4o`."""
    return "".join([rule.limit.name, *(f"|{name}={value_text(labels.get(name, ''))}" for name in rule.per)])


def base_account(name: str, where: Mapping[str, str]) -> str:
    """Return the account of a limit with these conditions: others of the same name count by themselves."""
    return "".join([name, *(f"|{label}~{value_text(pattern)}" for label, pattern in sorted(where.items()))])


def value_text(value: str) -> str:
    """Return a label's value as it stands in an account's name: one text for each value, whatever it holds."""
    text = quote(value.encode("utf-8", "surrogatepass"), safe=_PLAIN)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:32]}~{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
