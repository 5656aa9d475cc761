"""Alerts decided from records."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.alerts import Watch, in_words
from safellm._core.policy import Alert

SECOND = 10**9
DAY = 86_400 * SECOND
START = 20_000 * DAY


def watch(**settings):
    return Watch([Alert(name="a", **settings).rule()])


def intent(at, number=0, **fields):
    return {
        "event.name": "call.intent", "event.id": f"i{number}", "time_ns": str(START + at), "server.address": "api.example",
        "server.port": 443, "gen_ai.request.model": "m", **fields,
    }  # fmt: skip


def denial(at, **fields):
    return {
        "event.name": "policy.deny",
        "event.id": "d",
        "time_ns": str(START + at),
        "reason": "budget.exceeded",
        **fields,
    }


def outcome(at, micro=0, number=0, **fields):
    return {
        "event.name": "call.outcome", "event.id": f"o{number}", "event.parent": f"i{number}", "time_ns": str(START + at),
        "safellm.budget.charged": {"input_tokens": 1, "output_tokens": 2, "micro_usd": micro}, **fields,
    }  # fmt: skip


def raised(one, records):
    return [fields for record in records for fields in one.add(record)]


def test_five_refusals_in_a_minute_are_told_once():
    """The fifth trips it; the sixth is silent; so are five that are spread over more than the minute."""
    rule = {"count": "refusals", "at_least": 5, "within": "1m"}
    found = raised(watch(**rule), [denial(second * SECOND) for second in range(6)])
    assert [(one["safellm.alert.value"], one["event.parent"]) for one in found] == [(5, "d")]
    assert in_words(found[0]) == "5 refusals within 1m"
    assert raised(watch(**rule), [denial(second * 16 * SECOND) for second in range(50)]) == []
    edge = {"count": "refusals", "at_least": 4, "within": "1m"}
    assert raised(watch(**edge), [denial(second * SECOND) for second in (0, 20, 40, 60)]) == []
    assert len(raised(watch(**edge), [denial(second * SECOND) for second in (0, 20, 40, 59)])) == 1
    later = [denial(second * SECOND) for second in (*range(6), *range(120, 126))]
    assert len(raised(watch(**rule), later)) == 2


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60).map(sorted))
def test_a_count_is_never_reached_by_what_is_not_within(seconds):
    """Against a count by hand: told only if so many are within the minute, and always if they are within 59 seconds."""
    found = raised(watch(count="refusals", at_least=4, within="1m"), [denial(second * SECOND) for second in seconds])
    within = [sum(second - 60 < other <= second for other in seconds[: n + 1]) for n, second in enumerate(seconds)]
    assert bool(found) == (max(within) >= 4)


def test_each_subject_is_counted_for_itself():
    """Two users with two refusals each are not one with four; conditions leave others out."""
    one = watch(count="refusals", at_least=3, per=("user",), where={"reason": "budget.*"})
    records = [denial(n * SECOND, **{"safellm.grant.id": f"g{n % 2}"}) for n in range(4)]
    records += [denial(5 * SECOND, reason="shape.limit", **{"safellm.grant.id": "g1"})]
    assert raised(one, records) == []
    found = raised(one, [denial(6 * SECOND, **{"safellm.grant.id": "g1"})])
    assert [fields["safellm.alert.subject"] for fields in found] == [{"user": "g1"}]


def test_findings_are_counted_by_kind():
    """Only the kind that is asked for counts, as often as it was found."""
    one = watch(count="findings", at_least=10, where={"finding": "CREDIT_*"})
    assert raised(one, [intent(0, **{"safellm.redaction.counts": {"CREDIT_CARD": 4, "EMAIL": 90}})]) == []
    found = raised(one, [intent(SECOND, **{"safellm.redaction.counts": {"CREDIT_CARD": 6}})])
    assert found[0]["safellm.alert.value"] == 10


def test_spending_is_compared_with_the_mean_of_the_days_before():
    """A day of three times the mean is told with the mean; one of the same amount is not, nor is the first day."""
    rule = {"count": "usd", "times_mean": 2, "within": "1d", "mean_of": "7d"}
    usual = [outcome(day * DAY + hour * 3600 * SECOND, 100_000) for day in range(9) for hour in range(10)]
    one = watch(**rule)
    assert raised(one, usual) == []
    high = [outcome(10 * DAY + minute * 60 * SECOND, 100_000) for minute in range(30)]
    found = raised(one, high)
    assert [fields["safellm.alert.mean"] for fields in found] == [1_000_000]
    assert found[0]["safellm.alert.value"] == 2_100_000
    assert in_words(found[0]) == "2.10 USD within 1d, the mean is 1.00 USD"
    with_floor = watch(**rule, at_least=3)
    assert raised(with_floor, usual) == []
    assert [fields["safellm.alert.value"] for fields in raised(with_floor, high)] == [3_000_000]


def test_a_value_that_was_never_seen_is_told_once():
    """The first origin is the usual one; another one is told, also of a call that was refused."""
    one = watch(new="origin")
    assert raised(one, [intent(n * SECOND) for n in range(3)]) == []
    found = raised(one, [denial(SECOND, **{"server.address": "evil.example", "server.port": 443})] * 2)
    assert [fields["safellm.alert.subject"] for fields in found] == [{"origin": "evil.example:443"}]
    assert in_words(found[0]) == "a new origin: evil.example:443"
    per = watch(new="model", per=("user",))
    records = [intent(0, **{"safellm.key.ref": user, "gen_ai.request.model": model})
               for user, model in (("u1", "a"), ("u2", "b"), ("u1", "a"), ("u1", "b"))]  # fmt: skip
    assert [fields["safellm.alert.subject"] for fields in raised(per, records)] == [{"user": "u1", "model": "b"}]


def test_an_outcome_counts_for_the_user_of_its_intent():
    """The key stands in the intent only."""
    one = watch(count="usd", at_least="0.5", per=("user",), within="1h")
    records = [intent(0, 1, **{"safellm.key.ref": "vault:a"}), intent(0, 2, **{"safellm.key.ref": "vault:b"})]
    assert raised(one, [*records, outcome(SECOND, 400_000, 1), outcome(SECOND, 400_000, 2)]) == []
    found = raised(one, [intent(0, 3, **{"safellm.key.ref": "vault:b"}), outcome(SECOND, 100_000, 3)])
    assert [fields["safellm.alert.subject"] for fields in found] == [{"user": "vault:b"}]


@given(st.integers(0, 40))
def test_another_process_goes_on_from_the_state(cut):
    """Wherever the watch changes hands, the same is told."""
    rules = [
        Alert(name="a", count="refusals", at_least=4, within="1m", per=("user",)).rule(),
        Alert(name="b", new="model").rule(),
        Alert(name="c", count="usd", times_mean=2, within="1h", mean_of="6h").rule(),
    ]
    records = []
    for n in range(20):
        grant = {"safellm.grant.id": f"g{n % 3}"}
        records += [
            denial(n * 5 * SECOND, **grant),
            intent(n * 3600 * SECOND, n, **{"gen_ai.request.model": f"m{n // 5}"}),
        ]
        records += [outcome(n * 3600 * SECOND + SECOND, 10 ** (n // 6), n)]
    whole = raised(Watch(rules), records)
    first = Watch(rules)
    found = raised(first, records[:cut])
    found += raised(Watch(rules, json.loads(json.dumps(first.state()))), records[cut:])
    assert found == whole
    assert {fields["safellm.alert.name"] for fields in whole} == {"a", "b", "c"}


@given(st.dictionaries(
    st.sampled_from(["event.name", "event.id", "time_ns", "reason", "safellm.redaction.counts", "safellm.budget.charged"]),
    st.one_of(st.none(), st.integers(), st.text(), st.just("call.outcome"), st.just("policy.deny"), st.just("call.intent"),
              st.dictionaries(st.text(), st.one_of(st.integers(), st.text()))),
))  # fmt: skip
def test_records_of_other_forms_trip_nothing(record):
    """Whatever stands in a line, the watch goes on."""
    one = watch(count="findings", at_least=10**12)
    assert one.add(record) == []
    json.dumps(one.state())


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, "either count or new"),
        ({"count": "calls", "new": "origin", "at_least": 1}, "either count or new"),
        ({"count": "calls"}, "at_least or times_mean"),
        ({"new": "model", "at_least": 2}, "belong to count"),
        ({"count": "calls", "at_least": "1.5"}, "whole number"),
        ({"count": "calls", "at_least": 5, "within": "a minute"}, "30s, 1m"),
        ({"count": "calls", "at_least": 5, "where": {"finding": "EMAIL"}}, "belongs to"),
        ({"count": "calls", "at_least": 5, "per": ["finding"]}, "per can't be finding"),
        ({"count": "calls", "times_mean": 2, "within": "7d", "mean_of": "1d"}, "mean_of must be"),
    ],
)
def test_wrong_alerts_are_refused_in_plain_words(settings, what):
    """Each says what is wrong."""
    with pytest.raises(ValueError, match=what):
        Alert(name="a", **settings)
