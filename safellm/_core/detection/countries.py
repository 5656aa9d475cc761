"""Locale packs: whose national numbers are found by their form alone."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safellm._core.detection.scanner import RuleScanner
from safellm._core.detection.validators import NATIONAL

_WRITTEN_OTHERWISE = {"UK": "GB", "EL": "GR"}


def for_countries(scanner: RuleScanner, countries: Sequence[str]) -> RuleScanner:
    """Return a scanner that finds the national numbers of other countries only where a text says what they are.

    It shares the filters of the scanner that is given, so it costs nothing to make.

    Args:
        scanner: For all countries.
        countries: ISO 3166 codes in capitals; none means all.
    """
    if not countries:
        return scanner
    codes = ",".join(sorted({_WRITTEN_OTHERWISE.get(country, country) for country in countries}))
    return replace(
        scanner,
        rules=tuple(
            replace(rule, check=f"{rule.check}:{codes}") if rule.check in NATIONAL else rule for rule in scanner.rules
        ),
    )
