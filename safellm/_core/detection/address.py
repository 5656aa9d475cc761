"""Postal addresses: a street with its number, where a postcode, a label or a word about living says that it is one.

A street alone is nobody's address yet: "10 Downing Street" in a question stays. It counts with

* a postcode and a place behind it (`7 Elm Row, Leeds, LS2 7EY`), also on the next lines;
* a label in front of it (`Address: ...`, `"street": "..."`), in many languages;
* words for living or sending in front of it (`lives at`, `ship to`, `wohnt in der`).

Addresses in notices of copyright are those of firms and foundations, printed in millions of files.
"""

# ruff: noqa: PLR2004 - what an address is made of is a matter of small numbers
# ruff: noqa: RUF001 - words of many scripts
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache
from typing import Any

import re2

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.context import Spans

_BEFORE = 160  # characters before a postcode in which its street may stand
_AFTER = 96  # characters behind a street in which its postcode may stand
_LABEL = 48  # characters between a label and its street
_LONGEST = 160  # characters of the value of a label
_MEMORY = 16 << 20
_STREET = 100  # characters of a street and a district
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUBLIC = ("copyright", "foundation", "licen", "registered office", "headquarter", "(c)", "©")
_PUBLIC_REACH = 240  # characters before an address in which such a word makes it a firm's

# Words for streets: behind the name (English, apart), at its end (Germanic, in one), in front of it (Romance, Slavic).
_BEHIND = (
    "street|st|road|rd|avenue|ave|av|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl|square|sq|terrace|ter|way|parkway|pkwy|circle|cir|"
    "highway|hwy|close|crescent|cres|gardens|grove|mews|row|hill|rise|walk|view|green|park|wharf|alley|plaza|loop|trail|trl|turnpike|"
    "pike|path|heights|quay|broadway|esplanade|parade|nagar|marg|caddesi|cad|sokak|sok|sokağı|bulvarı|utca|út|tér|ulica|utcája"
)
_AT_END = (
    "straße|strasse|str\\.|weg|allee|gasse|platz|ring|damm|ufer|chaussee|steig|stieg|pfad|graben|markt|"
    "straat|laan|plein|gracht|kade|dijk|singel|dreef|hof|steeg|pad|"
    "gatan|vägen|gränd|torget|stigen|backen|gata|gate|veien|vegen|vei|gade|vej|stræde|allé|plads|"
    "katu|tie|kuja|polku|tori|utca|ului"
)
_BEFORE_NAME = (
    "rue|avenue|av\\.?|boulevard|bd\\.?|place|chemin|allée|impasse|quai|cours|route|square|passage|"
    "calle|c/|avenida|avda\\.?|paseo|plaza|ronda|carrer|camino|cuesta|pasaje|vial|glorieta|alameda|"
    "via|viale|piazza|corso|largo|vicolo|strada|contrada|borgo|incrocio|canale|rotonda|"
    "rua|travessa|praça|praceta|estrada|rodovia|"
    "ul\\.|ulica|al\\.|aleja|pl\\.|os\\.|strada|str\\.|aleea|bulevardul|calea|"
    "улица|ул\\.|проспект|просп\\.|пр-т|пер\\.|переулок|наб\\.|бул\\.|вулиця|вул\\.|"
    "am|an der|auf der|im|in der|zum|zur|unter den|alte[rn]?|na|οδός|οδ\\.|jalan|jl\\.|đường|ถนน"
)
_NAME = r"[\p{Lu}\d][\p{L}\p{M}\d'’.\-]*"
_LINKS = r"(?:d[aeiou]|del|dell[aeo]?|dos|das|des|du|la|las|le|les|los|l'|d'|of|the|van|von|der|den|y|e|et|i) ?"
_UNIT = (
    r"(?:[, ]{1,2}(?i:apt|apartment|suite|ste|unit|flat|fl|floor|room|rm|bldg|appartamento|appartement|app|piano|piso|puerta|"
    r"bl|sc|ap|wohnung|"
    r"top|stiege|lok|m|кв|apto|bajo|bis|ter)\.? ?#?[\p{L}\d\-]{1,6}|[, ]{1,2}#[\p{L}\d\-]{1,6}){0,3}"
)
_NUMBER = r"(?:(?i:n[.º°r]{0,2}|nr\.?|no\.?|num\.?|д\.|№) ?)?\d{1,5}(?: ?[A-Za-z]\b)?(?:[/\-]\d{1,4}[A-Za-z]?)?"
_FIRST = rf"\d{{1,6}}[A-Za-z]?(?:[/\-]\d{{1,4}})?(?: bis| ter)?,? (?:(?:{_NAME}|{_LINKS}|[NSEW]\.?) ?){{1,6}}"
_STREETS = (
    # 12 Elm Row; 12, rue de la Paix
    rf"\b\d{{1,6}}[A-Za-z]?(?:[/\-]\d{{1,4}})? (?:(?:{_NAME}|[NSEW]\.?) ){{1,4}}(?i:{_BEHIND})\b\.?{_UNIT}",
    rf"\b\d{{1,4}}(?: ?bis| ?ter)?,? (?i:{_BEFORE_NAME}) (?:{_LINKS}|{_NAME} ?|'){{1,6}}{_UNIT}",
    # Lange Straße 7; Gustav-Mahler-Weg 9; Sigurdsvej 2
    rf"(?:{_NAME} ){{0,3}}(?:[\p{{L}}\p{{M}}\-]{{2,}}(?:{_AT_END})|{_NAME}[ \-](?i:{_AT_END})) ?{_NUMBER}{_UNIT}",
    # Calle de Alcalá, 7; ul. Polna 3/4; Via Roma 1
    rf"\b(?i:{_BEFORE_NAME}) (?:{_LINKS}|{_NAME},? ?){{1,6}} ?{_NUMBER}{_UNIT}",
    # ул. Лесная, д. 7
    (
        r"(?:ул|пр|просп|пер|наб|бул|ш|пл|вул|б-р)\.? [\p{L}\d .\-]{2,40}, (?:д|буд|дом)\.? ?\d{1,4}(?:/\d{1,3})?"
        r"(?:,? (?:к|стр|корп|кв|оф)\.? ?\d{1,4}(?:/\d{1,3})?){0,3}"
    ),
    r"\b(?i:p\.? ?o\.? ?box|postfach|apartado(?: de correos)?|casella postale|caixa postal|boîte postale|postbus) \d{1,7}",
)
_STATES = frozenset(
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD "
    "TN TX UT VT VA WA WV WI WY PR GU VI AS MP AA AE AP AB BC MB NB NL NS NT NU ON PE QC SK YT NSW VIC QLD SA TAS ACT".split()
)
_AUSTRALIAN = frozenset("NSW VIC QLD SA TAS ACT WA NT".split())  # with postcodes of four digits
_POSTCODE = (
    r"(?:[A-Z]{1,2}-)?(?:\d{5}-\d{3,4}|\d{4}-\d{3}|\d{2}-\d{3}|\d{3} \d{2}|\d{6}|\d{4} ?[A-Z]{2}|\d{4,5}|"
    r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d)"
)
_CITY = rf"{_NAME}(?:[ \-](?:{_LINKS}|{_NAME})){{0,4}}"
_TAIL = (
    rf"(?:[,;]?\s{{1,3}}|,)(?:{_POSTCODE}\b,?\s{{1,3}}{_CITY}(?: \([A-Z]{{2}}\)| / [A-Z]{{2}})?|"
    rf"(?:{_CITY}[,\s]\s{{0,2}}){{1,2}}(?:[A-Z]{{2,3}},?\s)?{_POSTCODE}\b)"
)
_LABELS = frozenset(
    "address street streetaddress homeaddress shippingaddress billingaddress mailingaddress deliveryaddress postaladdress line1 "
    "addressline1 anschrift adresse wohnadresse lieferadresse rechnungsadresse straße strasse dirección direccion domicilio "
    "indirizzo residenza endereço endereco morada adres adresa cím lakcím osoite adress gatuadress адрес адреса address1 "
    "διεύθυνση alamat adresi livraison".split()
)
_OTHER_SCRIPTS = ("地址", "住址", "住所", "주소", "العنوان", "عنوان", "כתובת", "ที่อยู่", "địa chỉ", "पता", "адрес")
_ENTRANCE = (
    r"\b(?:Flat|Studio|Unit|Apt|Apartment|Suite) ?[A-Za-z0-9]{1,5}[,\s]\s{0,2}(?:\d{1,5}[A-Za-z]? )?"
    r"(?:[\p{Lu}][\p{L}'’.\-]* ?){1,4}"
)
_NO_STREETS = frozenset(
    "january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept "
    "oct nov dec januar februar märz mai juni juli oktober dezember page chapter section figure table version room suite step "
    "line lines part item number no issue volume vol week day python node java windows fig http port iso rfc level act "
    "scene".split()
)


@cache
def _other_scripts() -> tuple[str, ...]:
    return tuple(canonicalise(word).text for word in _OTHER_SCRIPTS)  # as checks see them


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return re2.compile(pattern, options)


def _streets(suffix: str = "") -> Any:
    return _compiled("(?:" + "|".join(_STREETS) + ")" + suffix)


def address_by_postcode(text: str, start: int, end: int) -> Spans:
    """Accept a postcode with its place when a street with a number ends right before it, on this line or one of those before."""
    before = text[max(0, start - _BEFORE) : start].rpartition("\n\n")[2]
    anchor = text[start:end]
    if not _may_follow_street(before, anchor):
        return ()
    street = _search_last(before, is_strong=_is_strong(anchor))
    if street is None and _follows(text, end):
        street = _search_alone(before, anchor)
    if street is None or _is_public(text, start):
        return ()
    first = before[street : street + 5].rstrip(",- ")
    if first.isdigit() and len(first) == 4 and first[:2] == anchor[:2] == "20":  # years in a list
        return ()
    place = None if any(map(str.islower, anchor)) else _compiled(rf",?\s{{1,2}}{_CITY}").match(text[end : end + _AFTER])
    return ((start - len(before) + street, end + (int(place.end()) if place else 0), 0.9),)


def _may_follow_street(before: str, anchor: str) -> bool:
    """Return whether a street with its number could end where a text ends: a cheap first look."""
    near = before[-_STREET:]
    if not any(map(near.__contains__, "0123456789")):
        return False
    # A year, unless the number of a house stands right before.
    if anchor[:2] in {"19", "20"} and not anchor[4:5].isdigit():
        return near.rstrip(" ,\n")[-2:].strip(_LETTERS).isdigit() and not near[-6:].rstrip(" ,").isdigit()
    return True


def _is_strong(anchor: str) -> bool:
    """Return whether a place is given with its state, or a postcode is of a form that is nothing else: any street will do."""
    words = anchor.replace(",", " ").split()
    states = _AUSTRALIAN if len(words[-1]) == 4 and words[-1].isdigit() else _STATES
    return (
        any(word in states for word in words)
        or _compiled(r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}").fullmatch(anchor) is not None
    )


def _follows(text: str, end: int) -> bool:
    return text[end : end + 1] in {"", "\n", '"', "'", ",", ".", ";", ")", "|", "<"}


def _search_last(before: str, *, is_strong: bool) -> int | None:
    """Return where the street begins that ends where a text ends."""
    match = _streets(r"[,;.]?\s{0,3}(?:" + _CITY + r"[,\s]\s{0,3}){0,2}\z").search(before)
    if match is None and is_strong:
        match = _compiled(rf"(?:{_ENTRANCE}|\b{_FIRST}){_UNIT}[,\s]\s{{0,3}}(?:{_CITY}[,\s]\s{{0,3}}){{0,1}}\z").search(
            before
        )
    return None if match is None else int(match.start())


def _search_alone(before: str, anchor: str) -> int | None:
    """Return where any name with a number begins that fills a line or a field before a postcode: `Slatinská 32, 786 01 Sázava`."""
    if anchor[:2] in {"19", "20"} and anchor[4:5] in {"", " "}:  # a year
        return None
    match = _compiled(
        rf"(?:\A|[\n\"':]|, )\s?({_NAME}(?: {_NAME}){{0,2}},? \d{{1,4}}[A-Za-z]?(?:/\d{{1,4}})?),?\s{{1,2}}\z"
    ).search(before)
    if match is None or match[1].split()[0].lower().rstrip(",") in _NO_STREETS:
        return None
    return int(match.start(1))


def address_in_context(text: str, start: int, end: int) -> Spans:
    """Find a street with its number behind words for living or sending; with the place behind it."""
    window = text[end : end + _LONGEST].partition("\n\n")[0]
    if not any(map(window[: _LABEL + _STREET].__contains__, "0123456789")):  # the search costs half a millisecond
        return ()
    match = _streets().search(window)
    if match is None or match.start() > _LABEL or ". " in window[: match.start()] or _is_public(text, start):
        return ()
    low, high = end + int(match.start()), end + int(match.end())
    return ((low, high + _place_behind(text, high), 0.85),)


def _place_behind(text: str, end: int) -> int:
    """Return how many characters behind a street are its place and postcode."""
    tail = _compiled(_TAIL).match(text[end : end + _AFTER])
    return int(tail.end()) if tail else 0


def address_labelled(text: str, start: int, end: int) -> Spans:
    """Accept the value of a field that is called an address, in any script: words and a number, on one line."""
    value = text[start:end].rstrip(" ,.;")
    before = text[max(0, start - _LABEL) : start].rpartition("\n")[2].lower().rstrip(" \"'`:=")
    name = before.rpartition(" ")[2].rpartition('"')[2].rpartition("'")[2].rpartition(".")[2].rpartition(",")[2]
    known = name.replace("_", "").replace("-", "") in _LABELS or before.endswith(_other_scripts())
    if not known or before.endswith(
        ("ip address", "mac address", "email address", "mail address", "web address", "memory address")
    ):
        return ()
    if any(mark in value for mark in "@={}<>$\\[]") or "://" in value:
        return ()
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    words = [word for word in value.replace(",", " ").split() if any(map(str.isalpha, word))]
    foreign = not value.isascii() and any(character > "\u0590" for character in value)
    if (
        not digits
        or letters < 4
        or digits > 24
        or (not foreign and "(" in value)
        or not (foreign or (len(words) >= 2 and any(word[0].isupper() for word in words)))
    ):
        return ()
    end = start + len(value)
    return ((start, end + _place_behind(text, end), 0.8),)


def _is_public(text: str, start: int) -> bool:
    before = text[max(0, start - _PUBLIC_REACH) : start].lower()
    return any(word in before for word in _PUBLIC)
