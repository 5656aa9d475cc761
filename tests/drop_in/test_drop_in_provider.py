"""The provider that is made from an SDK's types answers the SDK's methods with what they are documented to return."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from provider_of_types import endpoint, find, serving

anthropic = pytest.importorskip("anthropic")


@pytest.fixture(scope="module")
def client():
    """A plain client of the SDK, strict about what it gets."""
    with serving(anthropic.Anthropic(api_key="none")) as address:
        made = anthropic.Anthropic(
            api_key="none", base_url=address, max_retries=0, _strict_response_validation=True
        )  # fmt: skip
        with made:
            yield made


def test_an_answer_has_the_type_that_the_method_returns(client):
    """Whole answers, pages and downloads, each by its own endpoint."""
    message = client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    assert isinstance(message, anthropic.types.Message)
    assert [type(one) for one in message.content] == [anthropic.types.TextBlock]
    assert isinstance(client.models.list().data[0], anthropic.types.ModelInfo)


def test_a_stream_is_one_where_the_body_asks_for_it(client):
    """The same endpoint answers both."""
    with client.messages.create(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}], stream=True
    ) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"


def test_what_is_no_endpoint_is_not_found(client):
    """A method that the table lacks fails without the guard too, and is in neither number."""
    with pytest.raises(anthropic.NotFoundError):
        client.get("/v1/nothing", cast_to=object)


def test_words_come_before_names_and_beta_before_the_rest():
    """`work/stats` is no work of that name; what is asked as beta gets the beta's type where there is one."""
    known = {
        endpoint("GET", "/work/{work_id}"): (int,),
        endpoint("GET", "/work/stats"): (str,),
        endpoint("GET", "/work/{work_id}?beta=true"): (float,),
    }
    asked = ("/work/w-1", "/work/stats", "/work/w-1?beta=true", "/work")
    assert [find(known, endpoint("GET", one)) for one in asked] == [(int,), (str,), (float,), None]


def test_it_stands_for_openai_too():
    """Whole answers, streams and pages of the other SDK."""
    openai = pytest.importorskip("openai")
    with serving(openai.OpenAI(api_key="none")) as address:
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        with openai.OpenAI(api_key="none", base_url=address, max_retries=0, _strict_response_validation=True) as client:
            assert client.chat.completions.create(**asked).choices[0].message.content == "text"
            assert client.models.list().data[0].id == "text"
            with client.chat.completions.create(**asked, stream=True) as stream:
                assert stream.response.headers["content-type"] == "text/event-stream"
