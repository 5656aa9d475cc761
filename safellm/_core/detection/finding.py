"""What a scanner reports."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found: `text[start:end]` of the ORIGINAL text, in Python string indexes."""

    type: str  # EMAIL, PHONE, CREDIT_CARD, IBAN, US_SSN, IP_ADDRESS, SECRET, ...: upper case, goes into placeholders
    rule: str  # id of the rule, for records and explanations
    start: int
    end: int
    confidence: float = 1.0  # 0 to 1: how sure the rule and what stands around the find make it


class Scanner(Protocol):
    """Finds things in one text."""

    def scan(self, text: str) -> tuple[Finding, ...]:
        """Return findings ordered by `start`, never overlapping (the longer, then the more specific wins)."""
        ...
