"""What people call a number, in many languages: each label that is known is read, and whose numbers are found without one."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from safellm._core.detection.countries import for_countries
from safellm._core.detection.explained import explain
from safellm._core.detection.rules import load_rules
from safellm._core.detection.scanner import compile_scanner

_DATES = ("12.05.1980", "12/05/1980", "1980-05-12")
VALUES = {
    "PHONE": ("0712 345 " + "678", "(0712) 345" + "678"),
    "DATE_OF_BIRTH": _DATES,
    "BANK_ACCOUNT": ("4723" + "8812",),
    "US_SSN": ("536-22-" + "8714",),
}
OTHERS = ("4723" + "8812", "T472" + "3881")
# Named by something else than a label, or words of English that are labels only in capitals or before a colon.
_ELSEWHERE = {"OTHER", "IBAN", "CREDIT_CARD", "VIN"}


def _labels() -> list[tuple[str, str]]:
    path = resources.files("safellm._core.detection") / "data" / "words" / "labels.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        (kind, word)
        for kind, languages in tables.items()
        if kind not in _ELSEWHERE
        for words in languages.values()
        for word in words
    ]


def _kinds(text: str) -> set[str]:
    return {finding.type for finding in compile_scanner().scan(text)}


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in _labels()}))
def test_every_label_is_read(kind: str) -> None:
    """A label before a number, with a colon or as a name in JSON, leads to a find of its kind: gates and labels agree."""
    missed = [
        text
        for known, word in _labels()
        if known == kind
        for value in VALUES.get(kind, OTHERS)
        for text in (f"{word}: {value}", f'{{"{word}": "{value}"}}', f"{word.upper()}: {value}")
        if kind not in _kinds(text) and "ß" not in word and (word[-1].isalpha() or '"' not in text)
    ]
    assert not missed


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("numero de telephone: 0712 345 " + "678", "PHONE"),
        ("cedula 4723" + "8812", "NATIONAL_ID"),
        ("Geboortedatum: 12/05/" + "1980", "DATE_OF_BIRTH"),
        ("วันเกิด: 1980-05-" + "12", "DATE_OF_BIRTH"),
        ("Ngày sinh: 12.05." + "1980", "DATE_OF_BIRTH"),
        ("nume\u0301ro fiscal: 4723" + "8812", "TAX_ID"),  # an accent of its own
        ("customer_cpf=4723" + "8812", "NATIONAL_ID"),
    ],
)
def test_labels_are_read_however_they_are_typed(text: str, kind: str) -> None:
    """Without accents, with accents of their own, with a name's joints, and in scripts whose marks the view leaves out."""
    assert kind in _kinds(text)


def test_national_numbers_are_those_of_the_countries_that_are_named() -> None:
    """With countries, the numbers of others need a label; with none, every country's are found by their form."""
    brazil, spain, us = "529.982." + "247-25", "12345" + "678Z", "(212) 555-" + "0187"
    every = compile_scanner()

    def found(text: str, *countries: str) -> bool:
        return bool(for_countries(every, countries).scan(text))

    assert for_countries(every, ()) is every
    for text, country in ((brazil, "BR"), (spain, "ES"), (us, "US"), ("536-22-" + "8714", "US")):
        assert found(text)
        assert found(text, country, "JP")
        assert not found(text, "JP")
    assert found(f"CPF {brazil}", "JP")
    assert found(f"phone {us}", "JP")
    assert found(f"SSN 536-22-{8714}", "JP")
    number = "GB123" + "456789"  # with a code that people write otherwise
    assert found(f"VAT {number}", "UK") == found(f"VAT {number}", "GB")


@pytest.mark.parametrize(
    "text",
    [
        "Boston, MA 02110-" + "1301 USA",
        "Clause 252.227-" + "7013 (c) (1)",
        "(C) Example Telephone 2012-" + "2022",
        "3.1.7.1. Cost Summary",
        "<a name='x'></a>10.3.2.1. Structure",
        "broken in 1.6.0.1.",
        "(RFC 7231 7.1.2)",
        "border-color:rgb(226 232 240/var(--x))",
        "6239 6250 6251 6252 6253 6254",
        "5186 5187 5188",
        "libsome-java\t20070526-7",
        "d='M0 64h272v117H376V510zm272 290H376V683h272'",
        "using llvm::Pass::doInitialization;",
        "t.Type=t.ProgressToken=t.createConnection=t.NullLogger=t.Strategy=t.Other",
        "password = enforce_bytes(proxy_auth[1], name='x')",
        "passphrase: Optional[bytes] = None",
        "passwd\t1:4.13+dfsg1-1+deb12u1",
        "if pass_arg is _PassArg.environment:",
        "key = PBESv2SHA256AndAES256CBC",
        "return dict(username=self.username, password=self.password)",
        "USERNAME: Final = 1466",
        "the username is present",
        "changeset b5878c977206f60302536db969a8cef420853ade",
        '"key_vault_name": "web21prqodx24021"',
        "GR1348941" + "12312312312312312312",
        "-1.13-.28-.15-.68-.52-.01 1.08.58 1.23.82.72 1.21 1.87",
        "follow 588665495492014081",
        "[`cc4764579b`](https://host.test)",
        "0009  ; [*0201.0020.0002] # HORIZONTAL",
        "private_key: ed25519.Ed25519PrivateKey",
        'Response("Invalid session ID", status_code=400)',
        "joined the group ff02::1:3",
    ],
)
def test_what_only_looks_like_a_value_stays(text: str) -> None:
    """Postcodes, clauses, years, sections, standards, tables, drawings, code and versions are nobody's."""
    assert not compile_scanner().scan(text)


@pytest.mark.parametrize(
    "text",
    [
        "Who lived at 10 Downing Street?".replace("lived at", "worked in"),
        "Free Software Foundation, Inc., 51 Franklin Street, Boston, MA 02110",
        "Copyright Example GmbH, Lange Straße 7, 10115 Berlin",
        "IP address: 198.51.100 and Port 8080",
        "address: 0x7ffee4c0",
        "Deliver to 3 customers in 2024",
        "On May 12, 2021 Google said",
        "Address line 1 is required",
    ],
)
def test_streets_of_nobody_stay(text: str) -> None:
    """A famous house in a question, an address in a notice of copyright, other addresses and dates are no find."""
    assert "ADDRESS" not in _kinds(text)


_NUMBERS = [
    "+49 30 12345" + "678",
    "DE89 3704 0044 " + "0532 0130 00",
    "2a02:8109:9a40::8a2e:370",
    "3c:22:fb:" + "12:9a:d0",
    "536-22-" + "8714",
]


@pytest.mark.parametrize("value", _NUMBERS)
@pytest.mark.parametrize(
    "around", ["_{}_", "**{}**", "我的是{}吗", "\x1b[31m{}\x1b[0m", '{{"a":"x\\n{}"}}', "x:{} y", "„{}“", "、{}。"]
)
def test_values_are_found_whatever_stands_beside_them(value: str, around: str) -> None:
    """Emphasis, scripts without spaces, colours of a terminal, escapes and quotes don't hide a number that they touch."""
    text = around.format(value)
    found = {at for one in compile_scanner().scan(text) for at in range(one.start, one.end)}
    start = text.index(value)
    assert found >= {at for at in range(start, start + len(value)) if text[at].isalnum()}


def test_address_reaches_over_its_lines() -> None:
    """Street, place and postcode are one find, also when they stand on lines of their own."""
    text = "Ann Lee\n7 Elm Row Apt. 3\nSpringfield, IL 62704\nUSA"
    (found,) = (one for one in compile_scanner().scan(text) if one.type == "ADDRESS")
    assert text[found.start : found.end] == "7 Elm Row Apt. 3\nSpringfield, IL 62704"


def test_explanation_names_the_reason() -> None:
    """What a find is explained by: the check in words, the label, and for keys whose they are and where they are revoked."""
    rules = {rule.id: rule for rule in load_rules()}

    def why(text: str) -> str:
        (found,) = compile_scanner().scan(text)
        return explain(found, rules.get(found.rule), text)

    assert why("passport X123" + "4567") == "called 'passport'"
    assert why("4111 1111 " + "1111 1111") == "issuer, length and check digit are right"
    key = why("use AK" + "IAQ7ZK3FQ6VLR5TM2X")
    assert "Amazon" in key or "AWS" in key
    assert "revoke it at https://" in key
    (found,) = compile_scanner().scan("ann@corp-mail.org")
    assert explain(found, None, "") == "found by its form"
