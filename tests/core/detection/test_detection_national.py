"""Check digits of national, tax and medical numbers: public samples and made-up numbers hold, wrong ones don't."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.checkdigits import is_date, luhn, mod11_10, mod97, verhoeff
from safellm._core.detection.kinds import expand, load_kinds, shape
from safellm._core.detection.national import NUMBERS

# Made up, or samples that the issuing authorities publish; in two halves, so that no file holds a whole number.
SAMPLES = {
    "ar_cuit": ("34502", "282400"),
    "at_svnr": ("21401", "11457"),
    "au_abn": ("98308", "267322"),
    "au_acn": ("7005", "17773"),
    "au_medicare": ("21234", "56701"),
    "au_tfn": ("6804", "05827"),
    "baltic_id": ("37605", "030299"),
    "be_nrn": ("03021", "096276"),
    "be_vat": ("BE0986", "751405"),
    "bg_egn": ("49010", "49411"),
    "br_cnpj": ("1206377", "6268531"),
    "br_cpf": ("28090", "960901"),
    "ca_sin": ("5970", "31996"),
    "ch_ahv": ("756366", "3050087"),
    "ch_uid": ("CHE975", "277300"),
    "cl_rut": ("7273", "31743"),
    "cn_id": ("142123191", "905042561"),
    "co_nit": ("82010", "59761"),
    "cz_birth_number": ("31313", "01690"),
    "cz_ico": ("4907", "1726"),
    "de_health": ("A1234", "56780"),
    "de_idnr": ("42538", "109162"),
    "de_pension": ("150706", "49C103"),
    "de_vat": ("DE326", "857140"),
    "dk_cpr": ("07076", "14285"),
    "ec_cedula": ("01096", "24726"),
    "es_ccc": ("3602190933", "8282862546"),
    "es_cif": ("Q542", "63405"),
    "es_dni": ("2905", "9081F"),
    "es_nie": ("X478", "9889R"),
    "fi_business": ("9031", "2293"),
    "fi_hetu": ("13105", "2308T"),
    "fr_nir": ("7159621", "90801085"),
    "fr_siren": ("0103", "27732"),
    "fr_tax": ("050910", "3905226"),
    "gb_driver": ("MORGA657", "054SM9IJ"),
    "gb_nhs": ("64516", "88215"),
    "gb_nino": ("AB12", "3456C"),
    "gb_utr": ("24087", "99966"),
    "gr_afm": ("7307", "31181"),
    "gr_amka": ("27126", "636755"),
    "hk_id": ("A123", "4563"),
    "hr_oib": ("76071", "686896"),
    "hu_taj": ("1234", "56788"),
    "hu_tax": ("80715", "92153"),
    "ie_pps": ("9575", "877K"),
    "il_id": ("9274", "12486"),
    "in_aadhaar": ("776121", "885266"),
    "in_gstin": ("27AAPFU", "0939F1ZV"),
    "in_pan": ("ACUPA", "7085R"),
    "ir_id": ("04993", "70899"),
    "is_kennitala": ("52093", "04939"),
    "it_fiscal_code": ("RSSMRA85", "T10A562S"),
    "it_vat": ("80121", "960027"),
    "jp_my_number": ("666440", "189464"),
    "kr_brn": ("10114", "46607"),
    "kr_rrn": ("041127", "2510841"),
    "lv_code": ("16117", "519997"),
    "mx_clabe": ("032180000", "118359719"),
    "mx_curp": ("BOXW31082", "0HNERXN09"),
    "mx_rfc": ("VECJ88", "0326XXX"),
    "my_nric": ("020110", "653083"),
    "nl_bsn": ("4110", "11303"),
    "nl_vat": ("NL12345", "6789B13"),
    "no_birth_number": ("18029", "266634"),
    "no_organisation": ("8764", "92067"),
    "nz_ird": ("0206", "07483"),
    "pe_ruc": ("10944", "552991"),
    "pl_card": ("ABA3", "00000"),
    "pl_nip": ("24071", "02814"),
    "pl_pesel": ("22011", "721886"),
    "pl_regon": ("7331", "22690"),
    "pt_card": ("395247", "953PH7"),
    "pt_nif": ("7933", "78753"),
    "ro_cnp": ("540032", "8446664"),
    "rs_jmbg": ("050960", "9485736"),
    "ru_inn": ("100255", "213150"),
    "ru_snils": ("11223", "344595"),
    "sa_id": ("10000", "00008"),
    "se_organisation": ("55670", "37485"),
    "se_personal": ("11083", "11596"),
    "sg_nric": ("S123", "4567D"),
    "th_id": ("872032", "6793291"),
    "tr_id": ("96101", "650862"),
    "tr_vkn": ("15584", "29007"),
    "tw_id": ("A1234", "56789"),
    "ua_rnokpp": ("31100", "62747"),
    "us_aba": ("2312", "03867"),
    "us_dea": ("AB12", "34563"),
    "us_ein": ("0421", "03594"),
    "us_itin": ("9009", "29653"),
    "us_mbi": ("1EG4T", "E5MK73"),
    "us_npi": ("12345", "67893"),
    "vin": ("1HGCM826", "33A004352"),
    "za_id": ("101113", "3078184"),
}
# Numbers without a check digit in the last place, or with more than one that is right there.
NO_LAST_DIGIT = {
    "us_itin", "us_ein", "kr_rrn", "my_nric", "gb_utr", "is_kennitala", "dk_cpr", "pl_card", "mx_rfc", "gb_driver", "in_gstin",
    "us_mbi", "vin", "gb_nino", "in_pan", "nl_vat", "au_medicare", "lv_code",
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_number_holds_when_it_is_a_sample(name: str) -> None:
    """Each check accepts a number that is known to be right."""
    assert NUMBERS[name]("".join(SAMPLES[name]))


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - NO_LAST_DIGIT))
def test_number_fails_when_its_last_character_is_another(name: str) -> None:
    """No other last digit or letter is right."""
    number = "".join(SAMPLES[name])
    characters = "0123456789" if number[-1].isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    accepted = [character for character in characters if NUMBERS[name](number[:-1] + character)]
    assert accepted == [number[-1]]


@given(st.data())
def test_no_check_raises_when_the_shape_is_right(data: st.DataObject) -> None:
    """Any digits and capitals of a kind's shape get an answer, never an error."""
    form, kinds = data.draw(st.sampled_from(sorted(load_kinds().shapes.items(), key=lambda item: item[0])))
    letters = {"9": "0123456789", "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    compact = "".join(data.draw(st.sampled_from(letters[level])) for level in form)
    for kind in kinds:
        assert kind.holds(kind.prefix + compact[len(kind.prefix) :]) in {True, False}


@given(st.text("0123456789", min_size=8, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_one_wrong_digit_is_seen(digits: str, place: int, by: int) -> None:
    """Luhn, Verhoeff and ISO 7064 MOD 11,10 each see any single wrong digit."""
    place %= len(digits)
    wrong = digits[:place] + str((int(digits[place]) + by) % 10) + digits[place + 1 :]
    for method in (luhn, verhoeff, mod11_10):
        assert not (method(digits) and method(wrong))


@pytest.mark.parametrize(("method", "number"), [(luhn, "7992739" + "8713"), (verhoeff, "2363"), (mod11_10, "07945")])
def test_method_accepts_the_published_example(method: object, number: str) -> None:
    """The examples of the methods' descriptions are right."""
    assert callable(method)
    assert method(number)


def test_mod97_accepts_the_published_iban() -> None:
    """The example of ISO 13616 is right, and no neighbour of it."""
    assert mod97("GB82WEST1234" + "5698765432")
    assert not mod97("GB82WEST1234" + "5698765433")


@pytest.mark.parametrize(
    ("year", "month", "day", "exists"),
    [
        (1900, 2, 29, False),
        (2000, 2, 29, True),
        (0, 2, 29, True),
        (1999, 4, 31, False),
        (1999, 13, 1, False),
        (1999, 12, 0, False),
    ],
)
def test_date_exists_when_the_calendar_has_it(year: int, month: int, day: int, *, exists: bool) -> None:
    """Leap years and month lengths are the calendar's."""
    assert is_date(year, month, day) is exists


def test_shapes_are_written_with_counts() -> None:
    """A count repeats the character before it; letters and digits of a number become its shape."""
    assert expand("A9x3-9x12") == "A999-" + "9" * 12
    assert shape("ab12-X") == "AA99-A"


def test_at_least_25_countries_have_a_national_number() -> None:
    """Numbers of persons are known for the largest countries."""
    countries = {kind.id[:2] for kinds in load_kinds().shapes.values() for kind in kinds if kind.type == "NATIONAL_ID"}
    # And the United States: US_SSN.
    largest = "cn in id pk br ru mx jp vn tr de th gb fr za it kr es pl ca eg ir nl ng ro"
    assert countries >= set(largest.split())
    assert len(countries) >= 35
