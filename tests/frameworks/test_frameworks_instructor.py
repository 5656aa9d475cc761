"""instructor on a guarded client: typed answers hold the real values, the provider sees placeholders."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import instructor
import pytest
from pydantic import BaseModel

ASK = {"model": "gpt-4o-mini"}


class Notice(BaseModel):
    mail: str
    card: str


def messages(bench):
    return [{"role": "user", "content": bench.said}]


def test_instructor_page(bench):
    """The code of the page runs, and gets the real values."""
    assert bench.page("instructor")["notice"].mail == bench.said
    bench.check(1)


@pytest.mark.parametrize("mode", ["JSON_SCHEMA", "JSON", "MD_JSON"])
def test_instructor_answers_in_text_hold_real_values(bench, mode):
    """Modes that answer in the text of the message are restored without any setting."""
    bench.provider.reply_with(lambda seen: json.dumps(dict(zip(("mail", "card"), bench.hidden(seen), strict=True))))
    client = instructor.from_openai(bench.client(), mode=instructor.Mode[mode])
    notice = client.chat.completions.create(response_model=Notice, messages=messages(bench), **ASK)
    assert notice.model_dump() == {"mail": bench.mail, "card": bench.card}
    bench.check(1)


@pytest.mark.parametrize(("declared", "shown"), [([], False), (["Notice.*"], True)], ids=["undeclared", "declared"])
def test_instructor_answers_in_tool_calls_need_a_declaration(bench, declared, shown):
    """instructor's default mode answers in a tool call named like the model: placeholders, until it is declared."""
    guarded = bench.client(redaction={"restore_tool_arguments": declared})
    client = instructor.from_openai(guarded, mode=instructor.Mode.TOOLS)
    notice = client.chat.completions.create(response_model=Notice, messages=messages(bench), **ASK)
    assert (bench.mail in notice.mail) is shown
    assert ("X-EMAIL-" in notice.mail) is not shown
    bench.check(1)


def test_instructor_streams_partial_objects(bench):
    """Partial objects never show a piece of a placeholder, and end with the real values."""
    client = instructor.from_openai(bench.client(), mode=instructor.Mode.JSON_SCHEMA)
    parts = list(client.chat.completions.create_partial(response_model=Notice, messages=messages(bench), **ASK))
    assert len(parts) > 2
    assert not any("X-" in (part.mail or "") for part in parts)
    assert parts[-1].model_dump() == {"mail": bench.said, "card": bench.said}
    bench.check(1)


async def test_instructor_async(bench):
    """The async client works the same."""
    client = instructor.from_openai(bench.client("AsyncOpenAI"), mode=instructor.Mode.JSON_SCHEMA)
    notice = await client.chat.completions.create(response_model=Notice, messages=messages(bench), **ASK)
    assert notice.mail == bench.said
    bench.check(1)


def test_instructor_asks_again_with_placeholders(bench):
    """The complaint that instructor sends after an answer that doesn't fit quotes real values; they leave hidden."""
    replies = ["{{}}", '{{"mail": 1, "card": "{1}"}}', '{{"mail": "{0}", "card": "{1}"}}']
    bench.provider.reply_with(*[(lambda seen, text=text: text.format(*bench.hidden(seen))) for text in replies])
    client = instructor.from_openai(bench.client(), mode=instructor.Mode.JSON_SCHEMA)
    notice = client.chat.completions.create(response_model=Notice, messages=messages(bench), max_retries=2, **ASK)
    assert notice.model_dump() == {"mail": bench.mail, "card": bench.card}
    assert b"X-CREDIT_CARD-" in json.dumps(bench.provider.requests[2].json["messages"][1:]).encode()
    bench.check(3)


def test_instructor_does_not_retry_a_refusal(bench):
    """A refusal comes through with its cause, and instructor's own retries don't send it again."""
    client = instructor.from_openai(bench.client(budget=bench.one_request), mode=instructor.Mode.JSON_SCHEMA)
    client.chat.completions.create(response_model=Notice, messages=messages(bench), **ASK)
    with bench.refused():
        client.chat.completions.create(response_model=Notice, messages=messages(bench), max_retries=3, **ASK)
    bench.check(1)
