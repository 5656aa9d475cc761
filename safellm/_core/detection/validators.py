"""The checks that rules name: what a pattern matched is narrowed, widened or rejected by what it says and what stands around it.

A check gets the canonical text and the span of a match, and returns the spans that hold. Checks look at bounded windows around the
span, never at the whole text, so that the scan stays linear. Their modules are loaded when the first match asks: most programs
meet few of them, and a text without any costs nothing.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import cast

from safellm._core.detection.context import Spans

Check = Callable[[str, int, int], Spans]
_MODULES = {
    "address": ("address_by_postcode", "address_in_context", "address_labelled"),
    "contact": ("email", "email_spelled", "phone_international", "phone_nanp", "phone_national"),
    "crypto": ("base58", "bech32", "ethereum"),
    "dates": ("birth_date", "birth_date_before"),
    "identifier": ("identifier",),
    "identifiers": ("card", "iban", "us_ssn"),
    "keyblock": ("whole_jwt", "whole_key"),
    "network": ("ipv4", "ipv6", "mac", "personal_url"),
    "secretlike": (
        "app_password", "assigned_key", "assigned_password", "assigned_secret", "basic_credentials", "card_code", "header_token",
        "labelled_password", "looks_random", "mixed_case_token", "mixed_token", "not_sample", "password_below",
        "said_password", "sas_read", "sas_write", "storage_key", "url_password",
    ),
    "tokens": ("lone_token",),
    "username": ("username", "username_marked"),
}  # fmt: skip
# The module of each check.
CHECKS: Mapping[str, str] = MappingProxyType({name: module for module, names in _MODULES.items() for name in names})
# Checks that can be told whose numbers they find without a label.
NATIONAL = frozenset({"identifier", "us_ssn", "phone_nanp"})


@cache
def check_of(name: str) -> Check | None:
    """Return the check that a rule names: `identifier`, or `identifier:DE,FR` for those countries alone; None without a name.

    Raises:
        KeyError: There is no such check.
    """
    if not name:
        return None
    known, _, countries = name.partition(":")
    check = getattr(import_module(f"safellm._core.detection.{CHECKS[known]}"), known)
    return partial(check, countries=frozenset(countries.split(","))) if countries else cast(Check, check)
