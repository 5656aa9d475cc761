"""Why something was found, in words for people."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.finding import Finding
from safellm._core.detection.rules import Rule
from safellm._core.detection.words import REACH, label_before

_OWN: Mapping[str, str] = MappingProxyType({
    "registered": "a value that was registered", "sensitive": "marked by the program", "path": "a place that the policy names",
    "rules": "a rule of the policy", "plugin": "a detector of a plug-in",
})  # fmt: skip
_CHECKS: Mapping[str, str] = MappingProxyType({
    "address_by_postcode": "a street before a postcode", "address_in_context": "a street behind words for living or sending",
    "address_labelled": "what a field for addresses holds", "assigned_key": "the random value of a key",
    "assigned_password": "the value of a password", "assigned_secret": "the value of a setting named like a secret",
    "base58": "the checksum is right", "basic_credentials": "user and password in base64", "bech32": "the checksum is right",
    "birth_date": "a date behind a word for birth", "card": "issuer, length and check digit are right",
    "email": "a mail address", "email_spelled": "a mail address in words", "ethereum": "the form of an account",
    "header_token": "the credentials of a header", "iban": "length and check digits are right",
    "identifier": "the form and check digits of such a number", "ipv4": "an address that names a machine",
    "ipv6": "an address that names a machine", "labelled_password": "behind a word for password",
    "lone_token": "random letters and digits", "mac": "the address of a network card", "personal_url": "the page of a person",
    "phone_international": "a country code and a possible length", "phone_nanp": "the groups of a North American number",
    "phone_national": "the groups of a telephone number", "said_password": "behind a word for password",
    "sas_read": "the signature of a URL that lets read", "sas_write": "the signature of a URL that lets write",
    "url_password": "the password of a URL", "us_ssn": "a number that can have been issued", "username": "behind a word for user",
    "whole_key": "a private key, from its first line to its last",
})  # fmt: skip


def explain(finding: Finding, rule: Rule | None, text: str) -> str:
    """Return why something was found.

    Args:
        finding: In indexes of the text.
        rule: The rule of that name; None if it is none of the package's.
        text: Where it was found.
    """
    if rule is None:
        name = finding.rule if finding.rule in _OWN else finding.rule.partition(".")[0]
        return _OWN.get(name, "found by its form")
    before = canonicalise(text[max(0, finding.start - REACH) : finding.start]).text
    label = label_before(before, len(before))
    is_called = label is not None and label.type == finding.type
    why = f"the form of a key of {rule.provider}" if rule.provider else _CHECKS.get(rule.check, "its form")
    parts = [] if is_called and rule.check == "identifier" else [why]  # its name alone may have decided
    if label is not None and is_called and label.word not in why:
        parts.append(f"called {label.word!r}")
    if finding.type == "SECRET":
        parts.append(f"severity {rule.severity}")
    if rule.revoke:
        parts.append(f"revoke it at {rule.revoke}")
    return ", ".join(parts)
