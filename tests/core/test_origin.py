"""Origins: one host, one spelling; nothing that could name another host gets through (THREATS E.1, E.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.origin import Origin, make_origin, parse_origin
from safellm.errors import ConfigurationError

httpx = pytest.importorskip("httpx", reason="the parser that sends is the oracle: pip install httpx")

LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,10}[A-Za-z0-9])?", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PORT = st.none() | st.integers(1, 65535)
SCHEME = st.sampled_from(["https", "http", "HTTPS", "Http"])
# What attackers put around and into a host name.
PIECES = st.sampled_from(
    [
        "api.openai.com", "evil.example", "@", ":", "/", "\\", "#", "?", "%40", "%2e", "%00", ".", "..", "\t", "\n",
        "\r", "\x00", " ", "\u3002", "\uff0e", "\u2024", "\u0430", "\u212a", "\u00df", "\u200d", "\u00ad", "[", "]", "::1",
        "443", "https", "http", "://", "//", "user", "pass", "127.0.0.1", "0x7f000001", "2130706433", "xn--", ";", ",",
        "'", "$", "&", "=", "*", "_", "-", "\u2100", "\uff20", "\uff0f", "\u2215",
    ]
)  # fmt: skip
HOSTILE = st.lists(PIECES, min_size=1, max_size=9).map("".join)


@given(SCHEME, HOST, PORT)
def test_plain_origin_round_trips(scheme: str, host: str, port: int | None) -> None:
    """What is made from parts is read back from its text, in any case, with or without the scheme's own port."""
    origin = make_origin(scheme, host, port)
    assert parse_origin(str(origin)) == origin
    assert parse_origin(str(origin).upper()) == origin
    assert parse_origin(f"{origin}/v1/chat?x=y#z") == origin
    assert origin.host == host.lower()


@given(HOSTILE | st.text(max_size=30))
def test_e_3_whatever_is_accepted_means_one_host(text: str) -> None:
    """Accepted text is canonical, and the parser that sends finds the same scheme, host and port in it."""
    try:
        origin = parse_origin(text)
    except ConfigurationError as error:
        assert str(error).startswith("Not an origin: ")
        return
    assert parse_origin(str(origin)) == origin
    assert origin.host.isascii()
    assert origin.host == origin.host.lower()
    assert not set(origin.host) & set("@/\\?#%[] \t\r\n\x00")
    assert not origin.host.endswith(".")
    for spelling in (str(origin), text if "://" in text else f"https://{text}"):
        try:
            url = httpx.URL(spelling)
        except (httpx.InvalidURL, ValueError):
            continue  # it can't be sent at all
        port = url.port or {"https": 443, "http": 80}[url.scheme]
        assert (url.scheme, url.raw_host.decode().strip("[]"), port) == (origin.scheme, origin.host, origin.port)


@given(st.text(max_size=30))
def test_e_3_every_text_is_accepted_or_refused_in_our_words(text: str) -> None:
    """No other exception than ours, whatever a person or an attacker writes."""
    try:
        parse_origin(f"https://{text}")
    except ConfigurationError as error:
        assert error.remedy


@pytest.mark.parametrize(
    "text",
    [
        "https://user@api.openai.com",
        "https://user:pass@api.openai.com",
        "https://@api.openai.com",
        "https://:@api.openai.com",
        "https://api.openai.com\\@evil.example",
        "https://api.openai.com\\.evil.example",
        "https:\\\\api.openai.com",
        "https://api.openai.com.",
        "https://api.openai.com.:443",
        "https://.openai.com",
        "https://-x.example",
        "https://api.openai.com\n.evil.example",
        "https://api.openai.com\t",
        " https://api.openai.com",
        "https://api.openai.com\x00.evil.example",
        "https://api.openai.com%00.evil.example",
        "https://api%2eopenai.com",
        "https://",
        "https:///path",
        "",
        "ftp://api.openai.com",
        "file:///etc/passwd",
        "javascript://api.openai.com",
        "https://api.openai.com:0",
        "https://api.openai.com:65536",
        "https://api.openai.com:-1",
        "https://api.openai.com:8a",
        "https://api.openai.com,evil.example",
        "https://api.openai.com;evil.example",
    ],
)
def test_e_3_ambiguous_text_is_refused(text: str) -> None:
    """Each classic trick, refused with our own error that repeats none of it."""
    with pytest.raises(ConfigurationError, match="Not an origin"):
        parse_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://\u0430pi.openai.com",  # Cyrillic a
        "https://api.\u043epenai.com",
        "https://api.openai.c\u03bfm",
        "https://api\u3002openai\u3002com.evil.example",
        "https://api.openai\u2024com",
        "https://api.openai.com\u2100.evil.example",
        "https://api.openai.com\uff0fevil.example",
        "https://api.openai.com\u200d",
    ],
)
def test_e_3_look_alike_is_never_the_other_host(text: str) -> None:
    """A name that looks like the provider's is refused or becomes its own xn-- name, not the provider."""
    try:
        origin = parse_origin(text)
    except ConfigurationError:
        return
    assert origin.host != "api.openai.com"
    assert origin.host.isascii()


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0.0.0.0", "localhost.evil.example"])
def test_e_3_odd_forms_of_addresses_are_not_loopback(host: str) -> None:
    """Only what is surely the machine itself gets loopback's freedoms."""
    assert not parse_origin(f"http://{host}").is_loopback


@pytest.mark.parametrize(
    "text", ["http://localhost:8080", "127.0.0.1", "http://127.9.9.9", "http://[::1]:1", "LOCALHOST"]
)
def test_loopback_is_known(text: str) -> None:
    """The names and addresses of the machine itself."""
    assert parse_origin(text).is_loopback


def test_scheme_and_port_are_part_of_an_origin() -> None:
    """http is not https, another port is another origin; the default port is not."""
    https = parse_origin("https://a.example")
    assert https != parse_origin("http://a.example")
    assert https != parse_origin("https://a.example:8443")
    assert https == parse_origin("a.example:443") == Origin("https", "a.example", 443)
    assert str(parse_origin("https://[2001:db8::1]:8443")) == "https://[2001:db8::1]:8443"
