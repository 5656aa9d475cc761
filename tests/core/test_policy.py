"""The policy as a value: frozen, closed, identified by its digest."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from safellm._core.effects import Limit, Unit, Window
from safellm._core.policy import Action, Budget, Budgets, Mode, Policy, Redaction


def parts(model: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """Return the sections of a model, by name."""
    found = [(name, info.annotation) for name, info in model.model_fields.items()]
    return [(name, kind) for name, kind in found if isinstance(kind, type) and issubclass(kind, BaseModel)]


def test_defaults_are_the_ones_that_are_promised() -> None:
    """What a program gets that only swaps its import; a change here is a change of promises."""
    policy = Policy()
    assert policy.mode is Mode.GUARD
    assert (policy.redaction.enabled, policy.redaction.default) == (True, Action.MASK)
    assert policy.redaction.restore_tool_arguments == ()
    assert (policy.audit.mode, policy.audit.sync) == ("required", "group")
    assert policy.budget_limits() == ()
    assert (policy.egress.origins, policy.egress.allow_http) == ((), False)
    assert (policy.keys.vault, policy.keys.environment) == (True, True)


def test_policy_and_its_parts_can_not_be_changed() -> None:
    """What was checked and recorded is what holds."""
    policy = Policy()
    with pytest.raises(ValidationError):
        policy.mode = Mode.OBSERVE
    for name, _ in parts(Policy):
        section = getattr(policy, name)
        for field in type(section).model_fields:
            with pytest.raises(ValidationError):
                setattr(section, field, getattr(section, field))


def test_unknown_names_are_refused_everywhere() -> None:
    """A misspelt guard is a guard that is off."""
    with pytest.raises(ValidationError):
        Policy.model_validate({"mod": "strict"})
    for name, _ in parts(Policy):
        with pytest.raises(ValidationError):
            Policy.model_validate({name: {"no_such_setting": 1}})


def test_every_setting_is_described() -> None:
    """The documentation and `safellm policy show` are made from these texts."""
    for model in (Policy, Budget, *(kind for _, kind in parts(Policy))):
        for name, info in model.model_fields.items():
            is_section = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
            assert is_section or name == "limits" or info.description, f"{model.__name__}.{name}"


@pytest.mark.parametrize("mode", list(Mode))
def test_modes_answer_for_themselves(mode: Mode) -> None:
    """The two questions that guards ask."""
    policy = Policy(mode=mode)
    assert policy.observes == (mode is Mode.OBSERVE)
    assert policy.is_strict == (mode is Mode.STRICT)


@pytest.mark.parametrize("name", ["email", "Email", "", "1X", "A B", "A-B", "É", "A" * 33, "EMAIL\n"])
def test_finding_types_are_upper_case_words(name: str) -> None:
    """A type that no rule can have is a mistake, not a rule that never fires."""
    with pytest.raises(ValidationError):
        Policy(redaction=Redaction(types={name: Action.BLOCK}))


def test_budgets_become_limits_in_whole_units() -> None:
    """Money in micro-dollars, exactly; one limit per unit, in order."""
    budgets = Budgets(
        limits=(
            Budget(usd=Decimal("0.1"), window=Window.HOUR),
            Budget(name="team", tokens=5, window=Window.TOTAL),
            Budget(requests=2),
        )
    )
    assert Policy(budget=budgets).budget_limits() == (
        Limit(name="default", unit=Unit.MICRO_USD, limit=100_000, window=Window.HOUR),
        Limit(name="team", unit=Unit.TOKENS, limit=5, window=Window.TOTAL),
        Limit(name="default", unit=Unit.REQUESTS, limit=2, window=Window.DAY),
    )


@given(st.decimals(min_value="0.000001", max_value="1000000", places=6))
def test_any_amount_of_money_is_counted_exactly(usd: Decimal) -> None:
    """No cent appears or vanishes on the way to integers."""
    (limit,) = Budget(usd=usd).limits()
    assert Decimal(limit.limit) / 1_000_000 == usd


@pytest.mark.parametrize(
    "budget",
    [{"usd": 0}, {"usd": -1}, {"usd": "NaN"}, {"usd": "Infinity"}, {"tokens": 0}, {"tokens": 1.5}, {"name": "a b"}],
)
def test_meaningless_budgets_are_refused(budget: dict[str, Any]) -> None:
    """Zero, negative, not finite, not whole, or a name that is none."""
    with pytest.raises(ValidationError):
        Budget.model_validate(budget)


CHANGES = [
    {"mode": "strict"},
    {"redaction": {"enabled": False}},
    {"redaction": {"types": {"EMAIL": "allow"}}},
    {"budget": {"limits": [{"usd": 5}]}},
    {"budget": {"limits": [{"usd": 5, "window": "hour"}]}},
    {"audit": {"directory": "/x"}},
    {"egress": {"origins": ["https://a.example"]}},
]


def test_digest_names_one_policy() -> None:
    """Equal policies have equal digests in any order of writing; each change gives another one."""
    digests = [Policy.model_validate(change).digest() for change in ({}, *CHANGES)]
    assert len(set(digests)) == len(digests)
    one = Policy.model_validate({"redaction": {"types": {"A": "mask", "B": "block"}}, "mode": "guard"})
    other = Policy.model_validate({"mode": Mode.GUARD, "redaction": {"types": {"B": "block", "A": "mask"}}})
    assert one == other
    assert one.digest() == other.digest()
    assert len(one.digest()) == 64


@pytest.mark.parametrize("change", CHANGES)
def test_policy_survives_its_own_json(change: dict[str, Any]) -> None:
    """A policy that was written down, as in an audit record, can be read back."""
    policy = Policy.model_validate(change)
    assert Policy.model_validate(json.loads(policy.model_dump_json())) == policy
