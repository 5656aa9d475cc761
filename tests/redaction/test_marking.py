"""Marking values and fields."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import safellm
from safellm import Sensitive, mask, sensitive
from safellm.stores import marked


class Address(BaseModel):
    """A model inside another."""

    street: Annotated[str, Sensitive("STREET")]
    city: str


class Customer(BaseModel):
    """Marks on texts, numbers, lists and nothing."""

    number: Annotated[int, Sensitive("CUSTOMER_ID")] = Field(alias="no")
    nick: Annotated[str | None, Sensitive("NICK")] = None
    tags: Annotated[list[str], Sensitive("TAG")] = []
    addresses: list[Address] = []


class Bare(BaseModel):
    """The same without marks."""

    number: int = Field(alias="no")


@dataclasses.dataclass
class Order:
    """A dataclass around a model."""

    id: Annotated[str, Sensitive("ORDER")]
    customer: Customer


class Row(TypedDict):
    """A typed dictionary."""

    ssn: Annotated[str, Sensitive("US_SSN")]
    note: str


@pytest.fixture(autouse=True)
def home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with settings of its own."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))


CUSTOMER = Customer(no=471147, tags=["vip"], addresses=[Address(street="Elm 5", city="Rome")])
SECRET = ("471147", "vip", "Elm 5")


def test_e5_a_mark_survives_formatting_and_tells_nothing() -> None:
    """f-strings, `%`, `format`, templates, JSON: the text that stands for the value stays whole, the value appears nowhere."""
    made = sensitive(471147, "CUSTOMER_ID")
    written = [f"{made:>40}", f"{made!s}", "%s" % made, "a {} b".format(made), json.dumps({"a": made}), repr(made)]  # noqa: UP031, UP032
    for text in written:
        assert made in text
        assert "471147" not in text
        assert "471147" in safellm.restore(text)


def test_e5_a_mark_is_one_for_a_value_and_empty_for_nothing() -> None:
    """The same value is the same text, so prompts are stable; an empty value stays empty."""
    assert sensitive("a1", "ID") == sensitive("a1", "ID")
    assert len({sensitive("a1", "ID"), sensitive("a1", "OTHER"), sensitive("a2", "ID")}) == 3
    assert sensitive("", "ID") == ""


@pytest.mark.parametrize("name", ["", "id", "1D", "A-B", "A" * 33, "Ä"])
def test_a_wrong_name_is_an_error(name: str) -> None:
    """A name that no placeholder can carry is refused at once."""
    with pytest.raises(ValueError, match="not a type"):
        sensitive("x", name)


def test_r_8_a_mark_belongs_to_its_conversation() -> None:
    """One that was made inside a conversation is worth nothing outside or in another."""
    with safellm.conversation("alice"):
        made = sensitive("471147", "ID")
        assert safellm.restore(made) == "471147"
    assert safellm.restore(made) == made
    with safellm.conversation("bob"):
        assert safellm.restore(safellm.redact(f"is {made} ok")) == f"is {made} ok"
        assert safellm.restore(made) == made
        assert sensitive("471147", "ID") != made
    everywhere = sensitive("471147", "ID")
    with safellm.conversation("bob"):
        assert safellm.restore(everywhere) == "471147"


def test_r_3_marks_can_not_be_guessed() -> None:
    """They are keyed with a secret of this process."""
    from safellm._core.placeholder import make_placeholder

    made = sensitive("471147", "ID")
    assert make_placeholder(b"\0" * 32, "mark\x00None", "ID", "471147") != made
    assert len(marked._KEY) == 32


def test_old_marks_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that marks for ever keeps the latest; a forgotten mark is a look-alike, never a leak."""
    monkeypatch.setattr(marked, "_MOST", 3)
    first = sensitive("value 0", "ID")
    for number in range(1, 5):
        sensitive(f"value {number}", "ID")
    assert safellm.restore(first) == first


@pytest.mark.parametrize("value", [CUSTOMER, Order("o-77", CUSTOMER), [CUSTOMER], {"a": (CUSTOMER, 1)}])
def test_e5_marked_fields_are_masked_wherever_the_object_stands(value: object) -> None:
    """Models, dataclasses, lists and dictionaries of them become plain data without the values."""
    text = json.dumps(mask(value))
    assert not any(secret in text for secret in SECRET)
    assert "Rome" in text
    assert all(secret in safellm.restore(text) for secret in SECRET)


def test_e5_typed_dictionaries_are_masked_by_their_type() -> None:
    """Where the value doesn't say its type, the caller does."""
    row: Row = {"ssn": "123-45-6789", "note": "hi"}
    assert mask(row) == row
    masked = mask([row], list[Row])
    assert masked[0]["note"] == "hi"
    assert masked[0]["ssn"].startswith("X-US_SSN-")


def test_a_marked_model_is_otherwise_as_without_marks() -> None:
    """Validation, dumps and both JSON schemas don't change, so structured answers don't either."""
    model = Customer(no=5)
    assert model.number == 5
    assert model.model_dump()["number"] == 5
    assert '"number":5' in model.model_dump_json()
    for mode in "validation", "serialization":
        schema = Customer.model_json_schema(mode=mode)["properties"]["no"]
        assert schema == Bare.model_json_schema(mode=mode)["properties"]["no"]
    with pytest.raises(ValueError, match="no"):
        Customer.model_validate({"no": "x"})


def test_nothing_and_flags_stay() -> None:
    """`None`, `true` and `false` say nothing and keep their type."""

    class Flags(BaseModel):
        a: Annotated[bool | None, Sensitive("FLAG")]

    assert [mask(Flags(a=value))["a"] for value in (None, True)] == [None, True]


def test_what_can_not_be_written_is_an_error() -> None:
    """An object that pydantic doesn't know is named, not passed on."""

    @dataclasses.dataclass
    class Odd:
        log: logging.Logger

    with pytest.raises(safellm.ConfigurationError, match="Odd"):
        mask(Odd(logging.getLogger("x")))
