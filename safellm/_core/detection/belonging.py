"""Whose numbers a kind of number is: those of a country, or of several that share it."""

# ruff: noqa: SIM905 - lists of codes read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

_EU = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())
_SHARED = {"eu": _EU, "yu": frozenset("BA HR ME MK RS SI XK".split())}


def is_of(country: str, countries: frozenset[str]) -> bool:
    """Return whether a kind whose name begins so is used in one of some countries (ISO 3166 codes); none means everywhere.

    Kinds that several countries share begin with another word than a country's code.
    """
    return (
        not countries or len(country) != len("xx") or not countries.isdisjoint(_SHARED.get(country, {country.upper()}))
    )
