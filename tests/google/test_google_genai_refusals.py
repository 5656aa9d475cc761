"""A refusal is the SDK's own kind of error and safellm's, never retried, and it says nothing of the prompt."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import pickle
import traceback

import pytest

import safellm
from safellm.google.genai import errors, types
from safellm.testing.canary import make_canary, sweep

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
REFUSALS = {
    "blocked type": ({"redaction.types": {"EMAIL": "block"}}, 400, "redaction.blocked"),
    "budget": ({"budget.limits": [{"tokens": 1}]}, 429, "budget.exceeded"),
    "too large": ({"limits.request_bytes": 10}, 400, "shape.limit"),
}


@STREAMED
@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_is_both_errors_and_is_not_retried(face, provider, records, case, stream):
    """Caught by both families of `except`, with retries allowed for its very status: one denial, nothing sent."""
    settings, status, reason = REFUSALS[case]
    retries = types.HttpRetryOptions(attempts=5, initial_delay=0.01, http_status_codes=[status])
    client = face.client(provider, safellm=settings, http_options={"retry_options": retries})
    with pytest.raises(errors.APIError) as caught:
        face.ask(client, "mail alice@example.com", stream=stream)
    refused = caught.value
    assert isinstance(refused, safellm.Refused)
    assert isinstance(refused, errors.ClientError)
    assert (refused.code, refused.reason, refused.sent) == (status, reason, False)
    assert refused.status == {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED"}[status]
    assert refused.remedy in str(refused)
    assert provider.requests == []
    assert [one["reason"] for one in records() if one["event.name"] == "policy.deny"] == [reason]


def test_refusal_of_a_call_with_its_own_retries(face, provider, records):
    """Retries that one call asks for are as final."""
    retries = types.HttpRetryOptions(attempts=4, initial_delay=0.01)
    client = face.client(provider, safellm={"budget.limits": [{"tokens": 1}]})
    with pytest.raises(safellm.Refused):
        face.ask(client, config={"http_options": {"retry_options": retries}})
    assert len([one for one in records() if one["event.name"] == "policy.deny"]) == 1


def test_retries_of_the_provider_s_errors_still_work(face, provider):
    """What the SDK retries, it goes on retrying; each attempt is guarded."""
    from safellm.testing.replies import Reply

    provider.reply_with(Reply(status=503), Reply(text="at last"))
    retries = types.HttpRetryOptions(attempts=3, initial_delay=0.01, max_delay=0.02, jitter=0)
    assert face.ask(face.client(provider, http_options={"retry_options": retries}), "alice@example.com") == "at last"
    assert len(provider.requests) == 2
    assert not [one for one in provider.requests if b"alice" in one.body]


@pytest.mark.parametrize("call", ["upload", "download", "interaction"])
def test_refusal_of_other_doors(face, provider, call, tmp_path):
    """Uploads, downloads and the newer half of the SDK raise the same error."""
    client = face.client(provider, safellm={"redaction.types": {"EMAIL": "block"}})
    path = tmp_path / "x.txt"
    path.write_text("alice@example.com")
    one = face.of(client)
    with pytest.raises(errors.APIError) as caught:
        if call == "upload":
            face.run(one.files.upload(file=str(path)))
        elif call == "download":
            face.run(one.files.download(file="files/x", config={"http_options": {"base_url": "https://other.example"}}))
        elif hasattr(one, "interactions"):
            face.run(one.interactions.create(model="g", input="alice@example.com"))
        else:
            raise errors.APIError(0, {}) from None
    assert isinstance(caught.value, safellm.Refused) or not hasattr(one, "interactions")


def test_refusal_survives_pickle_and_copy(sync, provider):
    """It crosses process borders with its evidence, and without the request."""
    secret = make_canary().lower()
    client = sync.client(provider, safellm={"redaction.types": {"EMAIL": "block"}})
    with pytest.raises(safellm.Refused) as caught:
        sync.ask(client, f"mail {secret}@example.com")
    error = caught.value
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert isinstance(twin, errors.ClientError)
        assert (str(twin), twin.guard, twin.reason, twin.remedy, twin.code) == (
            str(error), error.guard, error.reason, error.remedy, error.code,
        )  # fmt: skip
    shown = [
        str(error),
        repr(error),
        repr(error.details),
        "".join(traceback.format_exception(error)),
        pickle.dumps(error),
    ]
    assert sweep(secret, texts=shown) == []


def test_guard_failure_is_native_too(sync, provider, monkeypatch):
    """A guard that breaks stops the call with both kinds of error."""
    client = sync.client(provider)
    driver = client._api_client._httpx_client._transport.safellm_driver

    def broken(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(type(driver.tools.scanner), "scan", broken)
    with pytest.raises(errors.ClientError) as caught:
        sync.ask(client, "text")
    assert isinstance(caught.value, safellm.GuardFailure)
    assert provider.requests == []


def test_observe_mode_refuses_nothing(face, provider, records):
    """Adopting safely: the call goes out as it is, the record says what would have been refused."""
    client = face.client(provider, safellm={"mode": "observe", "redaction.types": {"EMAIL": "block"}})
    assert face.ask(client, "mail alice@example.com") == 'You wrote: "mail alice@example.com"'
    assert b"alice@example.com" in provider.requests[0].body
    intent = next(one for one in records() if one["event.name"] == "call.intent")
    assert intent["safellm.would_refuse"] == ["redaction.blocked"]
