"""Personal data in its surroundings: labels in many languages say what a number is, other words take it away."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection import identifiers
from safellm._core.detection.scanner import compile_scanner
from safellm._core.detection.words import OTHER, label_before, load_labels


def found(text: str) -> list[tuple[str, str]]:
    """Return type and text of what all rules find."""
    return [(finding.type, text[finding.start : finding.end]) for finding in compile_scanner().scan(text)]


@pytest.mark.parametrize(
    ("before", "value", "kind"),
    [
        ("Passport no. ", "X1234" + "567", "PASSPORT"),
        ("Reisepass-Nr.: ", "C01X0" + "0T47", "PASSPORT"),
        ("numéro de passeport : ", "12AB3" + "4567", "PASSPORT"),
        ("护照号码：", "E1234" + "5678", "PASSPORT"),
        ("Driver's license: ", "Z839-816" + "-36-122-0", "DRIVER_LICENSE"),
        ("permis de conduire n° ", "0512991" + "00123", "DRIVER_LICENSE"),
        ("My bank account number is ", "28707" + "205258", "BANK_ACCOUNT"),
        ("Kontonummer: ", "5320" + "13000", "BANK_ACCOUNT"),
        ("NHS number: ", "943 476" + " 5919", "MEDICAL_ID"),
        ("EIN ", "20-13" + "09590", "TAX_ID"),
        ("Steuernummer: ", "21/815/0" + "8150", "TAX_ID"),
        ("ИНН ", "500100" + "732259", "TAX_ID"),
        ("CPR-nummer ", "290-47" + "-2594", "NATIONAL_ID"),
        ("T.C. kimlik numaram ", "4098334" + "1844", "NATIONAL_ID"),
        ("주민등록번호는 ", "560325" + "-2493247", "NATIONAL_ID"),
        ("mi DNI es ", "51302" + "571J", "NATIONAL_ID"),
        ("fecha de nacimiento: ", "3 de mayo de " + "1975", "DATE_OF_BIRTH"),
        ("geboren am ", "12.05." + "1980", "DATE_OF_BIRTH"),
        ("生年月日：", "1980年5月" + "12日", "DATE_OF_BIRTH"),
        ("data di nascita ", "12/05/" + "1980", "DATE_OF_BIRTH"),
        ("Handynummer: ", "0151 " + "17598891", "PHONE"),
        ("zadzwoń: ", "604 444" + " 088", "PHONE"),
        ("電話番号は", "03-1234" + "-5678", "PHONE"),
        ("my VIN is ", "1HGCM826" + "33A004352", "VIN"),
    ],
)
def test_number_is_named_by_its_label(before: str, value: str, kind: str) -> None:
    """A label in any of many languages gives the value its type, and the value alone is covered."""
    assert found(f"{before}{value}, danke.") == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "Order 1234567" + "8Z shipped",
        "Compute 491-28" + "-5463 as a subtraction",
        "Epoch 17427" + "73796123 in milliseconds",
        "offset 065.38" + "8704",
        "SKU E83345" + "39 is out of stock",
        "passport renewal on 2024-01-31",
        "license: MIT, Copyright 2019-2024",
        "Total: 5,341,864.59 USD, 613587" + "456 units",
        "my card expired, order 4111 1111",
        "username: string, user=self.user",
        "Released on 12/05/1980; the birth of a format",
    ],
)
def test_number_is_left_alone_when_it_is_called_otherwise(text: str) -> None:
    """Orders, times, sums and versions are no personal data."""
    assert found(text) == []


def test_nearest_label_wins_when_there_are_two() -> None:
    """Of two labels the nearer one says what follows."""
    text = "passport pending, phone 030 " + "1234567"
    assert found(text) == [("PHONE", "030 " + "1234567")]
    account = "28707" + "205258"
    assert found(f"order 7 came, now bank account {account}") == [("BANK_ACCOUNT", account)]
    assert found(f"my bank account is closed; order {account}") == []


def test_label_speaks_for_the_first_number_only() -> None:
    """What comes after a labelled number has no label any more."""
    text = "account number 28707" + "205258 and 12345" + "6789"
    assert found(text) == [("BANK_ACCOUNT", "28707" + "205258")]


def test_confidence_is_higher_when_a_label_and_a_check_digit_agree() -> None:
    """A label lifts confidence; a wrong check digit lowers it without hiding the value."""
    (right,) = compile_scanner().scan("NHS number 943 476" + " 5919")
    (wrong,) = compile_scanner().scan("NHS number 943 476" + " 5918")
    assert 0.5 <= wrong.confidence < right.confidence <= 1


def test_labels_have_one_meaning() -> None:
    """Every label has a type that rules give, or takes numbers away."""
    kinds = {rule.type for rule in compile_scanner().rules}  # type: ignore[attr-defined]
    kinds |= {"TAX_ID", "PASSPORT", "DRIVER_LICENSE", "MEDICAL_ID", "BANK_ACCOUNT", "VIN", OTHER}
    assert set(load_labels().values()) <= kinds


@given(st.text(), st.integers(0, 200))
def test_label_look_up_takes_any_text(text: str, start: int) -> None:
    """No text makes the look-up fail, also where lower case changes its length."""
    label = label_before(text, min(start, len(text)))
    assert label is None or label.type


@given(st.text("\u0130\u1e9e passport: \n", max_size=60))
def test_label_is_found_when_lower_case_is_longer(prefix: str) -> None:
    """Letters that grow in lower case don't shift the label away from its value."""
    label = label_before(f"{prefix} passport no. X", len(prefix) + 14)
    assert label is not None
    assert (label.type, label.is_direct) == ("PASSPORT", True)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("saved as alice@mail.test.txt", ["alice@mail.test"]),
        ("https://social.test/users/ann.lee?tab=1, ok", ["https://social.test/users/ann.lee?tab=1"]),
        ("login ok user=annlee ip=192.0.2.1", ["annlee", "192.0.2.1"]),
        ("NIC 3c:22:fb:" + "12:9a:d0.", ["3c:22:fb:" + "12:9a:d0"]),
        ("pay bc1qar0srrr7xfkvy5l6" + "43lydnw9re59gtzzwf5mdq", ["bc1qar0srrr7xfkvy5l6" + "43lydnw9re59gtzzwf5mdq"]),
    ],
)
def test_value_is_found_in_its_place(text: str, values: list[str]) -> None:
    """Addresses, user names and machines are covered exactly."""
    assert [value for _, value in found(text)] == values


@pytest.mark.parametrize(
    "text",
    [
        "Author: dev <dev@" + "example.com>",
        "mail to username@" + "domain.com or noreply@" + "firm.test",
        "Copyright (c) 2016 Ann Lee <ann@" + "firm.test>",
        'authors = [{ name = "Ann Lee", email = "ann@' + 'firm.test" }]',
        'host: "10.1.2.80" or `192.168.0.1`',
        "remote_addr=1.2.3.4",
        "block 17 tx from 0x323089f2df9f0836009c" + "0abd0c0ad33b3c73588c nonce 40",
    ],
)
def test_samples_and_published_addresses_are_left_alone(text: str) -> None:
    """Placeholders, machines, packages' authors, private networks in code and records of a chain lead to no person."""
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Author: Ann Lee <ann.lee@" + "firm.test>", "EMAIL"),
        ('{"name": "Ann", "email": "ann@' + 'firm.test"}', "EMAIL"),
        ("bob@" + "example.com", "EMAIL"),
        ("login ok from 10.1.2.80", "IP_ADDRESS"),
        ('"client": "203.0.' + '113.7"', "IP_ADDRESS"),
        ("Website: https://annlee.test/cv", "URL"),
    ],
)
def test_neighbours_of_samples_are_found(text: str, kind: str) -> None:
    """What only resembles a sample is personal data."""
    assert [one for one, _ in found(text)] == [kind]


def test_dates_beside_names_are_births_when_a_list_is_about_ages() -> None:
    """In a list of people that words about ages stand over, the date behind each name is a date of birth; in no other list."""
    people = "Ann Lee - 3 May 19" + "75\nBob O'Neil - 12.05." + "1980\nCyd Doe - 1990-" + "01-31"
    assert [kind for kind, _ in found(f"Our members older than 18:\n{people}")] == ["DATE_OF_BIRTH"] * 3
    assert found(f"Talks at the meeting:\n{people}") == []


@given(st.text(st.sampled_from("0123456789"), min_size=12, max_size=19))
def test_numbers_of_all_issuers_begin_as_they_are_looked_for(digits: str) -> None:
    """What the first look at a number skips is no issuer's."""
    assert digits.startswith(identifiers._BEGINS) or not identifiers._issuer(digits)


@pytest.mark.parametrize("before", ["0000 9999 ", "0000-", "12.34 "])
def test_card_is_found_behind_other_digits(before: str) -> None:
    """A card's number in a row of other groups is found where it begins."""
    number = "4111 1111 " + "1111 1111"
    text = f"total {before}{number}"
    assert ("CREDIT_CARD", len(text)) in {(one.type, one.end) for one in compile_scanner().scan(text)}


@pytest.mark.parametrize(
    ("before", "value", "kind"),
    [
        ("Passport: ", "C01X0" + "006H", "PASSPORT"),
        ("paspoortnummer ", "NT8EN" + "8CG2", "PASSPORT"),
        ("driving licence: ", "MORGA657" + "054SM9IJ", "DRIVER_LICENSE"),
        ("DL ", "B335" + "3456", "DRIVER_LICENSE"),
        ("MRN: ", "MRN-06" + "69193", "MEDICAL_ID"),
        ("My NIE is ", "Y-24175" + "91-M", "NATIONAL_ID"),
        ("my passport, ", "X1234" + "567", "PASSPORT"),
        ("номер паспорта: ", "CR73" + "4679", "PASSPORT"),
        ("mój numer dowodu osobistego to ", "WNV84" + "8046", "NATIONAL_ID"),
        ("vehicle identification number ", "1HGCM826" + "33A004352", "VIN"),
        ("<acctNum>", "09167" + "938", "BANK_ACCOUNT"),
        ('"ssnNumber":"', "181-94" + "-5811", "US_SSN"),
        ("vehicleVin: ", "1HGCM826" + "33A004352", "VIN"),
        ("<faxNumber>", "0612526" + "504", "PHONE"),
        ("rodné číslo: ", "981020/" + "1352", "NATIONAL_ID"),
        ("taxpayer ", "212-02" + "-7676", "US_SSN"),
        ("call ", "0061 412 " + "348 290", "PHONE"),
        ("logged in as ", "tnovak", "USERNAME"),
        ("kullanıcı adı: ", "yusuf-eriksson", "USERNAME"),
    ],
)
def test_value_is_named_in_many_forms(before: str, value: str, kind: str) -> None:
    """Letters within a number, names of fields in code and markup, and a comma behind the label don't hide a value."""
    assert (kind, value) in found(f"{before}{value}</x>" if before.startswith("<") else f"{before}{value}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Ich bin am 12.05." + "1980 geboren.", "12.05." + "1980"),
        ("12.05." + "1980 года рождения", "12.05." + "1980"),
        ("1980年5月" + "12日出生", "1980年5月" + "12日"),
        ("12 Mayıs " + "1980 doğumluyum", "12 Mayıs " + "1980"),
        ("my date of birth, 9/9/" + "1975, is wrong", "9/9/" + "1975"),
    ],
)
def test_date_of_birth_is_found_before_its_word(text: str, value: str) -> None:
    """A word for birth may stand behind the date."""
    assert found(text) == [("DATE_OF_BIRTH", value)]


@pytest.mark.parametrize(
    "text",
    [
        "name,dob,ssn,phone\nAnn Lee,{0},{1},{2}\nBob Lee,{0},{1},{2}\n",
        "Here they are:\n| name | DOB | SSN | mobile |\n|---|---|---|---|\n| Ann Lee | {0} | {1} | {2} |\n",
        "name\tdate_of_birth\tssn\tphone\nAnn Lee\t{0}\t{1}\t{2}\n",
    ],
)
def test_heading_of_a_column_is_a_label(text: str) -> None:
    """CSV, Markdown and tab-separated tables name their values once, at the top."""
    values = {"DATE_OF_BIRTH": "12/05/" + "1980", "US_SSN": "5362" + "28714", "PHONE": "21255" + "50187"}
    assert {one for one in found(text.format(*values.values())) if one[0] in values} == set(values.items())


@pytest.mark.parametrize(
    "text",
    [
        "order,qty,total\n5362" + "28714,21255" + "50187,3\n",
        "name | released\n--- | ---\nalpha | 12/05/1980\n",
        'd="M0,2 L3,4\n1,0.0275919 2.82326,0.5"',
        "0069 0307 0300",
        "255 250 250 snow",
        "fill 0.5,rgb\n235,255 228 196",
        "tax numbers, Copyright (C) 2008-2011",
        "serial:AF:A2:8B:B9:33:AD:DA:AD",
        "Python 3.11.13.2 on linux",
        "types-requests<2.31.0.7",
        "https://bugs.tracker.test/show_bug.cgi?id=85099",
        "https://tool.readthedocs.io/en/latest/user/support.html",
        "previous handle is selected",
        "username: this.props.username",
        "login: handler2.login",
        '"username": "octocat"',
        "user_id = request.user_id, name=x",
        "logged in as admin_user1",
        "<value nick='full-screen'/>",
        "b 512, kB 1000, K 1024, MB 1000",
        "9999-12-31 geboren2",
    ],
)
def test_neighbours_of_new_forms_are_left_alone(text: str) -> None:
    """Tables of other things, colours, code points, versions, entries of trackers and names in code are nobody's."""
    assert found(text) == []
