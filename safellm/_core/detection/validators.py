"""The checks that rules name: what a pattern matched is narrowed, widened or rejected by what it says and what stands around it.

A check gets the canonical text and the span of a match, and returns the spans that hold. Checks look at bounded windows around the
span, never at the whole text, so that the scan stays linear.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from safellm._core.detection.contact import email, email_spelled, phone_international, phone_nanp, phone_national
from safellm._core.detection.context import Spans
from safellm._core.detection.identifiers import card, iban, ipv4, ipv6, us_ssn
from safellm._core.detection.keyblock import whole_key
from safellm._core.detection.secretlike import (
    assigned_key,
    assigned_password,
    assigned_secret,
    header_token,
    looks_random,
    mixed_token,
    not_sample,
    url_password,
)

Check = Callable[[str, int, int], Spans]

CHECKS: Mapping[str, Check] = MappingProxyType({
    "card": card, "iban": iban, "us_ssn": us_ssn, "ipv4": ipv4, "ipv6": ipv6, "email": email, "email_spelled": email_spelled,
    "phone_international": phone_international, "phone_nanp": phone_nanp, "phone_national": phone_national,
    "whole_key": whole_key, "not_sample": not_sample, "looks_random": looks_random, "mixed_token": mixed_token,
    "assigned_secret": assigned_secret, "assigned_password": assigned_password, "assigned_key": assigned_key,
    "header_token": header_token, "url_password": url_password,
})  # fmt: skip
