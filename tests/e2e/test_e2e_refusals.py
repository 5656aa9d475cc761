"""A refusal is an error that the program knows: the SDK's own kind and safellm's, never retried, without any prompt text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import pickle
import traceback

import pytest

import openai
import safellm
from safellm.testing.canary import make_canary, sweep

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])

# What makes a call refused, the SDK's error, guard, reason.
REFUSALS = {
    "blocked type": ({"redaction.types": {"EMAIL": "block"}}, openai.BadRequestError, "redaction", "redaction.blocked"),
    "budget": ({"budget.limits": [{"tokens": 1}]}, openai.RateLimitError, "budget", "budget.exceeded"),
    "no room for requests": ({"budget.limits": [{"requests": 1}]}, openai.RateLimitError, "budget", "budget.exceeded"),
    "too large": ({"limits.request_bytes": 10}, openai.BadRequestError, "shape", "shape.limit"),
    "too deep": ({"limits.json_depth": 3}, openai.BadRequestError, "shape", "shape.malformed"),
}


def refusing(face, provider, case, **options):
    settings, error, guard, reason = REFUSALS[case]
    client = face.client(provider, safellm=settings, **options)
    if case == "no room for requests":
        face.ask(client)
        provider.requests.clear()
    return client, error, guard, reason


@STREAMED
@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_refusal_is_the_sdks_error_and_ours_and_is_not_retried(face, provider, records, case, stream, api):
    """Caught by both families of `except`; the provider saw nothing, with retries allowed; the trail has one denial."""
    client, error, guard, reason = refusing(face, provider, case, max_retries=5)
    with pytest.raises(openai.APIStatusError) as caught:
        face.ask(client, "mail alice@example.com", stream=stream, api=api, extra_body={"deep": [[[["x"]]]]})
    refused = caught.value
    assert isinstance(refused, safellm.Refused)
    assert isinstance(refused, error)
    assert (refused.guard, refused.reason, refused.sent) == (guard, reason, False)
    assert refused.remedy
    assert refused.status_code == refused.status == refused.response.status_code
    assert str(refused).count(refused.what) == 1
    assert provider.requests == []
    denials = [one for one in records() if one["event.name"] == "policy.deny"]
    assert [(one["safellm.guard"], one["reason"]) for one in denials] == [(guard, reason)]


def test_budget_refusal_is_caught_as_rate_limit_error(face, provider):
    """Programs that back off on `openai.RateLimitError` go on working."""
    client, *_ = refusing(face, provider, "budget")
    with pytest.raises(openai.RateLimitError):
        face.ask(client)
    with pytest.raises(safellm.Refused):
        face.ask(client)


def test_refusal_shows_no_prompt_text_anywhere(face, provider):
    """Message, repr, attributes, pickle and traceback of an error hold no word of the request."""
    secret = make_canary().lower()
    client, *_ = refusing(face, provider, "blocked type")
    with pytest.raises(safellm.Refused) as caught:
        face.ask(client, f"mail {secret}@example.com")
    error = caught.value
    shown = [str(error), repr(error), repr(vars(error)), repr(error.args), repr(error.body), error.response.text]
    shown += ["".join(traceback.format_exception(error)), pickle.dumps(copy_of(error))]
    assert sweep(secret, texts=shown) == []


def copy_of(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("case", ["blocked type", "budget"])
def test_refusal_survives_pickle_and_copy(face, provider, case):
    """A refusal crosses process borders with its evidence."""
    client, *_ = refusing(face, provider, case)
    with pytest.raises(safellm.Refused) as caught:
        face.ask(client, "mail alice@example.com")
    error = caught.value
    for twin in (copy_of(error), copy.copy(error)):
        assert isinstance(twin, safellm.Refused)
        assert (twin.guard, twin.reason, twin.remedy, twin.status) == (
            error.guard,
            error.reason,
            error.remedy,
            error.status,
        )
        assert str(twin) == str(error)


def test_refusal_in_raw_and_streaming_responses_is_raised(face, provider):
    """`with_raw_response` and `with_streaming_response` don't turn a refusal into an answer."""
    client, *_ = refusing(face, provider, "blocked type")
    call = {"model": "gpt-4o", "messages": [{"role": "user", "content": "mail alice@example.com"}]}
    with pytest.raises(safellm.Refused):
        face.run(client.chat.completions.with_raw_response.create(**call))
    with pytest.raises(safellm.Refused):
        face.enter(client.chat.completions.with_streaming_response.create(**call))
    assert provider.requests == []


def test_observe_mode_refuses_nothing_and_records_what_it_would(face, provider, records):
    """Adopting safely: the call goes out as it is, the record says what would have been refused."""
    client = face.client(provider, safellm={"mode": "observe", "redaction.types": {"EMAIL": "block"}})
    assert face.ask(client, "mail alice@example.com") == 'You wrote: "mail alice@example.com"'
    assert b"alice@example.com" in provider.requests[0].body
    intent = next(one for one in records() if one["event.name"] == "call.intent")
    assert intent["safellm.would_refuse"] == ["redaction.blocked"]


@pytest.mark.parametrize(("status", "sent_back"), [(400, "BadRequestError"), (429, "RateLimitError")])
def test_server_can_not_pretend_to_be_safellm(face, provider, status, sent_back):
    """A provider that copies the form of a refusal gets the SDK's plain error, not `Refused`."""
    from safellm.testing.replies import Reply

    headers = {"x-safellm-reason": "budget.exceeded", "x-should-retry": "false", "safellm.refused": "1"}
    provider.reply_with(Reply(status=status, text="no", headers=headers))
    with pytest.raises(getattr(openai, sent_back)) as caught:
        face.ask(face.client(provider))
    assert not isinstance(caught.value, safellm.Refused)
