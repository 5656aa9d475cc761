"""The checks that rules name: what a pattern matched is narrowed, widened or rejected by what it says and what stands around it.

A check gets the canonical text and the span of a match, and returns the spans that hold. Checks look at bounded windows around the
span, never at the whole text, so that the scan stays linear.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType

from safellm._core.detection.address import address_by_postcode, address_in_context, address_labelled
from safellm._core.detection.contact import email, email_spelled, phone_international, phone_nanp, phone_national
from safellm._core.detection.context import Spans
from safellm._core.detection.crypto import base58, bech32, ethereum
from safellm._core.detection.dates import birth_date
from safellm._core.detection.identifier import identifier
from safellm._core.detection.identifiers import card, iban, us_ssn
from safellm._core.detection.keyblock import whole_key
from safellm._core.detection.network import ipv4, ipv6, mac, personal_url
from safellm._core.detection.secretlike import (
    assigned_key,
    assigned_password,
    assigned_secret,
    basic_credentials,
    header_token,
    labelled_password,
    looks_random,
    mixed_case_token,
    mixed_token,
    not_sample,
    said_password,
    sas_read,
    sas_write,
    storage_key,
    url_password,
)
from safellm._core.detection.tokens import lone_token
from safellm._core.detection.username import username

Check = Callable[[str, int, int], Spans]
# Checks that can be told whose numbers they find without a label.
NATIONAL: Mapping[str, Callable[..., Spans]] = MappingProxyType({
    "identifier": identifier, "us_ssn": us_ssn, "phone_nanp": phone_nanp,
})  # fmt: skip

CHECKS: Mapping[str, Check] = MappingProxyType({
    "identifier": identifier, "mac": mac, "username": username, "personal_url": personal_url, "birth_date":
    birth_date, "base58": base58, "bech32": bech32, "ethereum": ethereum, "card": card, "iban": iban, "us_ssn":
    us_ssn, "ipv4": ipv4, "ipv6": ipv6, "email": email, "email_spelled": email_spelled,
    "phone_international": phone_international, "phone_nanp": phone_nanp, "phone_national": phone_national,
    "whole_key": whole_key, "not_sample": not_sample, "looks_random": looks_random, "mixed_token": mixed_token,
    "assigned_secret": assigned_secret, "assigned_password": assigned_password, "assigned_key": assigned_key,
    "header_token": header_token, "url_password": url_password, "storage_key": storage_key, "mixed_case_token": mixed_case_token,
    "lone_token": lone_token, "said_password": said_password, "labelled_password": labelled_password,
    "basic_credentials": basic_credentials, "sas_read": sas_read, "sas_write": sas_write,
    "address_by_postcode": address_by_postcode, "address_in_context": address_in_context, "address_labelled": address_labelled,
})  # fmt: skip


@cache
def check_of(name: str) -> Check | None:
    """Return the check that a rule names: `identifier`, or `identifier:DE,FR` for those countries alone; None without a name."""
    known, _, countries = name.partition(":")
    return partial(NATIONAL[known], countries=frozenset(countries.split(","))) if countries else CHECKS.get(known)
