"""What kind of place an address is, and who may go there (E.7)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.addresses import Kind, allowed_kinds, first_forbidden, kind_of
from safellm._core.origin import parse_origin

EXPECTED = {
    "1.1.1.1": Kind.PUBLIC,
    "104.18.6.192": Kind.PUBLIC,
    "2606:4700::6812:6c0": Kind.PUBLIC,
    "127.0.0.1": Kind.LOOPBACK,
    "127.255.3.4": Kind.LOOPBACK,
    "::1": Kind.LOOPBACK,
    "0.0.0.0": Kind.UNSPECIFIED,
    "0.1.2.3": Kind.UNSPECIFIED,
    "::": Kind.UNSPECIFIED,
    "10.0.0.1": Kind.PRIVATE,
    "172.31.255.255": Kind.PRIVATE,
    "172.32.0.1": Kind.PUBLIC,
    "192.168.1.1": Kind.PRIVATE,
    "100.64.0.1": Kind.PRIVATE,
    "198.18.0.7": Kind.PRIVATE,
    "fd12:3456::1": Kind.PRIVATE,
    "fec0::1": Kind.PRIVATE,
    "169.254.1.1": Kind.LINK_LOCAL,
    "fe80::1": Kind.LINK_LOCAL,
    "fe80::1%eth0": Kind.LINK_LOCAL,
    "169.254.169.254": Kind.METADATA,
    "169.254.170.2": Kind.METADATA,
    "168.63.129.16": Kind.METADATA,
    "192.0.0.192": Kind.METADATA,
    "100.100.100.200": Kind.METADATA,
    "fd00:ec2::254": Kind.METADATA,
    "fd20:ce::254": Kind.METADATA,
    "224.0.0.1": Kind.MULTICAST,
    "ff02::1": Kind.MULTICAST,
    "192.0.2.1": Kind.RESERVED,
    "203.0.113.9": Kind.RESERVED,
    "255.255.255.255": Kind.RESERVED,
    "2001:db8::1": Kind.RESERVED,
    "4000::1": Kind.RESERVED,
    "100::1": Kind.RESERVED,
    # What carries another address is what it carries.
    "::ffff:169.254.169.254": Kind.METADATA,
    "::ffff:10.0.0.1": Kind.PRIVATE,
    "::ffff:1.1.1.1": Kind.PUBLIC,
    "::127.0.0.1": Kind.LOOPBACK,
    "::ffff:0:127.0.0.1": Kind.LOOPBACK,
    "64:ff9b::a9fe:a9fe": Kind.METADATA,
    "64:ff9b::1.1.1.1": Kind.PUBLIC,
    "64:ff9b::192.0.0.192": Kind.METADATA,
    "64:ff9b:1::10.0.0.1": Kind.PRIVATE,
    "2002:a9fe:a9fe::1": Kind.METADATA,
    "2002:0a00:0001::": Kind.PRIVATE,
    "2001:0:1:1:0:0:5601:5601": Kind.METADATA,  # Teredo: 169.254.169.254 inverted
    "2001:db9::5efe:7f00:1": Kind.LOOPBACK,
}


@pytest.mark.parametrize(("address", "kind"), EXPECTED.items())
def test_e_7_kind_of_an_address(address: str, kind: Kind) -> None:
    """The list of our own, form by form."""
    assert kind_of(address) is kind


@given(st.ip_addresses(v=4))
def test_e_7_public_is_never_more_than_python_s_global(address: ipaddress.IPv4Address) -> None:
    """What we call public Python calls global too; ours is the shorter list."""
    if kind_of(str(address)) is Kind.PUBLIC:
        assert address.is_global


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "64:ff9b::{}", "64:ff9b:1::{}", "2002:{0:x}::"]))
def test_e_7_no_wrapping_makes_an_address_public(address: ipaddress.IPv4Address, form: str) -> None:
    """Whatever carries an address that is not public is not public either."""
    number = f"{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"
    wrapped = f"2002:{number}::" if "2002" in form else form.format(address)
    assert kind_of(wrapped) is kind_of(str(address))


def kinds(host: str, **changes: object) -> frozenset[Kind]:
    options = {"private": (), "in_code": (), "strict": False, **changes}
    return allowed_kinds(host, 443, **options)  # type: ignore[arg-type]


def test_e_7_who_may_go_where() -> None:
    """Public for all; private by policy, or given in code outside strict mode; names of this machine lead to it alone."""
    inside = (parse_origin("https://llm.internal"),)
    assert kinds("api.openai.com") == {Kind.PUBLIC}
    assert kinds("localhost") == kinds("127.0.0.1") == kinds("[::1]") == {Kind.LOOPBACK}
    assert kinds("llm.internal", private=inside, strict=True) == {
        Kind.PUBLIC,
        Kind.PRIVATE,
        Kind.LOOPBACK,
        Kind.LINK_LOCAL,
    }
    assert Kind.PRIVATE in kinds("LLM.internal", in_code=inside)
    assert kinds("llm.internal", in_code=inside, strict=True) == {Kind.PUBLIC}
    assert kinds("other.internal", in_code=inside, private=inside) == {Kind.PUBLIC}
    assert allowed_kinds("llm.internal", 8443, private=inside, in_code=inside, strict=False) == {Kind.PUBLIC}
    for allowed in (kinds("llm.internal", private=inside), kinds("llm.internal", in_code=inside)):
        assert not allowed & {Kind.METADATA, Kind.MULTICAST, Kind.UNSPECIFIED, Kind.RESERVED}


def test_e_7_one_forbidden_address_forbids_the_answer() -> None:
    """Mixed answers count as their worst."""
    assert first_forbidden(["1.1.1.1", "::ffff:10.0.0.1"], frozenset({Kind.PUBLIC})) is Kind.PRIVATE
    assert first_forbidden(["1.1.1.1", "2606:4700::1"], frozenset({Kind.PUBLIC})) is None
