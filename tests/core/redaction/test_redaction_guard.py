"""The guard in a whole call: places, numbers, marks and surrogates, out and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from awkward_texts import cuts
from exchanges import HIDDEN, World, answer, chat, sent
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core.effects import Forward, Refuse
from safellm._core.placeholder import find_placeholders
from safellm._core.redaction.memory import Memory
from safellm.stores.marked import MarksOf, mark

MAIL = HIDDEN[0]


def world(conversation: str | None = None, **redaction: Any) -> World:
    """Return a world whose conversation knows marks and surrogates."""
    return World(settings={"redaction": redaction}, values=Memory("test", marks=MarksOf(conversation)))


def reply(text: str) -> bytes:
    """Return a chat answer."""
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()


def streamed(text: str) -> bytes:
    """Return the same as a stream of one event for each character."""
    events = [{"choices": [{"index": 0, "delta": {"content": letter}}]} for letter in text]
    return b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in events) + b"data: [DONE]\n\n"


def content(data: bytes) -> str:
    """Return the text of an answer or a stream."""
    if data.startswith(b"data:"):
        events = [json.loads(line[6:]) for line in data.decode().split("\n\n") if line.startswith("data: {")]
        return "".join(one["choices"][0]["delta"].get("content", "") for one in events)
    return str(json.loads(data)["choices"][0]["message"]["content"])


def test_e5_a_place_of_the_policy_is_hidden_whole() -> None:
    """What stands at a path is hidden whatever it is, numbers included, and nothing else is."""
    at = world(paths={"messages[*].metadata.customer": "CUSTOMER_ID", "**.salary": "SALARY"})
    body = chat("hello", extra={"deep": [{"salary": 5100, "bonus": 7}]})
    body["messages"][0]["metadata"] = {"customer": "Miller & Sons", "tier": "gold"}
    exchange, decision = at.begin(body)
    out = sent(decision, body)
    assert out["messages"][0]["metadata"]["customer"].startswith("X-CUSTOMER_ID-")
    assert out["messages"][0]["metadata"]["tier"] == "gold"
    assert out["extra"]["deep"][0]["salary"].startswith("X-SALARY-")
    assert out["extra"]["deep"][0]["bonus"] == 7
    told = answer(exchange, [reply(f"to {out['messages'][0]['metadata']['customer']}")])
    assert content(told) == "to Miller & Sons"


def test_e5_marked_values_leave_as_placeholders_and_come_back() -> None:
    """A mark is replaced by the conversation's own placeholder; the provider never sees the mark."""
    made = mark("4711-Miller", "CUSTOMER_ID", None)
    assert "4711" not in made
    exchange, decision = world().begin(body := chat(f"Write to {made}."))
    out = sent(decision, body)["messages"][0]["content"]
    assert made not in out
    assert "4711" not in out
    assert out.startswith("Write to X-CUSTOMER_ID-")
    assert content(answer(exchange, [reply(f"Dear {out[9:-1]}")])) == "Dear 4711-Miller"


@pytest.mark.parametrize("settings_", [{"default": "allow"}, {"enabled": False}])
def test_e5_marked_values_are_hidden_whatever_the_default(settings_: dict[str, Any]) -> None:
    """A policy that hides nothing else says nothing about a value that the program marked."""
    body = chat(f"Write to {mark('4711-Miller', 'CUSTOMER_ID', None)}.")
    _, decision = world(**settings_).begin(body)
    assert "4711" not in json.dumps(sent(decision, body))
    _, decision = world(types={"CUSTOMER_ID": "allow"}, **settings_).begin(body)
    assert "4711-Miller" in json.dumps(sent(decision, body))


def test_r_8_a_mark_of_one_conversation_is_worth_nothing_in_another() -> None:
    """It is hidden like any look-alike, and its value is not what comes back."""
    made = mark("4711-Miller", "CUSTOMER_ID", "alice")
    exchange, decision = world("bob").begin(body := chat(f"Who is {made}?"))
    out = sent(decision, body)["messages"][0]["content"]
    assert out.startswith("Who is X-TEXT-")
    assert content(answer(exchange, [reply(out)])) == f"Who is {made}?"
    _, decision = world("alice").begin(body)
    assert "X-CUSTOMER_ID-" in json.dumps(sent(decision, body))


def test_a_value_inside_a_longer_finding_is_hidden_with_it() -> None:
    """A finding that reaches over a mark hides the value, not the mark."""
    from safellm._core.detection.finding import Finding

    made = mark("4711-Miller", "CUSTOMER_ID", None)
    text = f"password={made}!!"

    class Whole:
        def scan(self, text: str) -> tuple[Finding, ...]:
            return (Finding(type="SECRET", rule="r", start=9, end=len(text)),) if "password" in text else ()

    at = world()
    at.scanner = Whole()
    exchange, decision = at.begin(body := chat(text))
    out = sent(decision, body)["messages"][0]["content"]
    assert out.startswith("password=X-SECRET-")
    assert content(answer(exchange, [reply(out)])) == "password=4711-Miller!!"


def test_numbers_of_a_body_are_searched() -> None:
    """A card number without quotation marks is hidden; short numbers and the provider's own stay."""
    body = chat("hello", seed=4111111111111111, max_tokens=100)
    body["messages"].append(
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "pay", "arguments": '{"card": 4111111111111111, "sum": 12}'},
                }
            ],
        }
    )
    _, decision = world().begin(body)
    out = sent(decision, body)
    assert out["seed"] == 4111111111111111
    arguments = json.loads(out["messages"][1]["tool_calls"][0]["function"]["arguments"])
    assert arguments["card"].startswith("X-CREDIT_CARD-")
    assert arguments["sum"] == 12


def test_a21_surrogates_leave_and_come_back() -> None:
    """The model sees a mail address that looks right; the program sees its own."""
    exchange, decision = world(types={"EMAIL": "surrogate"}).begin(body := chat(f"Mail {MAIL} now"))
    fake = sent(decision, body)["messages"][0]["content"].split()[1]
    assert "@example." in fake
    assert MAIL not in fake
    text = f"Done: {fake}, {fake.upper()}. See http://e.example/?q={fake} and x{fake}"
    assert content(answer(exchange, [reply(text)])) == (
        f"Done: {MAIL}, {MAIL}. See http://e.example/?q={fake} and x{fake}"
    )


@settings(max_examples=150)
@given(st.data())
def test_r_5_mangled_placeholders_and_surrogates_stream_as_they_come_whole(data: st.DataObject) -> None:
    """Streaming equals not streaming, for every cut of the bytes."""
    at = world(types={"EMAIL": "surrogate"})
    body = chat(f"{MAIL} {HIDDEN[1]}", stream=True)
    exchange, decision = at.begin(body)
    fake, card = sent(decision, body)["messages"][0]["content"].split(" ")
    pieces = [
        fake,
        card,
        card.lower(),
        card.replace("_", "\\_"),
        card[-16:],
        fake[:7],
        card[:20],
        " ",
        ", ",
        "X-",
        "**",
        "-",
        "x ",
    ]
    text = data.draw(st.lists(st.sampled_from(pieces), max_size=8).map("".join))
    plain, _ = at.begin(chat(f"{MAIL} {HIDDEN[1]}"))
    whole = content(answer(plain, [reply(text)]))
    parts = answer(exchange, cuts(streamed(text), data), content_type="text/event-stream")  # type: ignore[arg-type]
    assert content(parts) == whole


def test_observing_hides_and_remembers_nothing() -> None:
    """In observe mode the body is untouched, findings are counted, and an answer can't be changed."""
    at = World(settings={"mode": "observe", "redaction": {"default": "surrogate"}}, values=Memory("test"))
    _, decision = at.begin(chat(f"Mail {MAIL}"))
    assert isinstance(decision, Forward)
    assert decision.body is None
    assert len(at.values) == 0


def test_a_blocked_place_refuses() -> None:
    """A path's name has an action like any type."""
    _, decision = world(paths={"user": "USER"}, types={"USER": "block"}).begin(chat("hi", user="u1"))
    assert isinstance(decision, Refuse)


def test_r_8_a_surrogate_that_a_tool_sends_back_stays() -> None:
    """Within one named conversation the tool's echo is recognised, so model and tool talk of the same thing."""
    at = world(types={"EMAIL": "surrogate"})
    _, decision = at.begin(body := chat(f"Mail {MAIL}"))
    fake = sent(decision, body)["messages"][0]["content"].split()[1]
    at.scanner.words = (*at.scanner.words, fake)
    _, decision = at.begin(body := chat(f"sent to {fake}"))
    assert sent(decision, body)["messages"][0]["content"] == f"sent to {fake}"


def test_look_alikes_stay_look_alikes() -> None:
    """A program's text that only looks like a placeholder leaves as one of its own and comes back as it was."""
    text = "see X-EMAIL-0123456789ABCDEF here"
    exchange, decision = world().begin(body := chat(text))
    out = sent(decision, body)["messages"][0]["content"]
    assert [match[0][:7] for match in find_placeholders(out)] == ["X-TEXT-"]
    assert content(answer(exchange, [reply(out)])) == text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", f"name;mail\nJ\u00f6rg;{MAIL}\n".encode()),
        ("a.txt", f"\ufeffMail {MAIL}\n".encode("utf-16-le")),
        ("a.txt", f"Mail {MAIL}\r\n".encode("utf-16-be")),
        ("a.jsonl", f'{{"a" : "{MAIL}", "x": 1.50}}\n\n{{"a": 1}}\n'.encode()),
        ("a.json", f'{{\n  "a": ["{MAIL}"],\n  "z": 2e3\n}}\n'.encode()),
        ("a.ipynb", f'{{"cells": [{{"source": ["print(\'{MAIL}\')\\n"]}}]}}'.encode()),
    ],
)
def test_files_that_are_text_are_searched_and_otherwise_unchanged(name: str, data: bytes) -> None:
    """In an upload the value is hidden, and every other byte of the file is as it was."""
    mail = MAIL.encode("utf-16-le" if data[:2] == b"\xff\xfe" else "utf-16-be" if data[:1] == b"\0" else "utf-8")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--b\r\n'
        + f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + data
        + b"\r\n--b--\r\n"
    )
    _, decision = world().begin(body, path="/v1/files", headers=(("content-type", "multipart/form-data; boundary=b"),))
    assert isinstance(decision, Forward)
    assert decision.body is not None
    before, after = data.split(mail)
    assert mail not in decision.body
    assert before in decision.body
    assert after in decision.body


def test_a_value_cut_by_the_parts_of_a_message_is_hidden_in_both() -> None:
    """Adjacent text parts are read as one text; parts of different messages, and parts with something between them, are not."""
    from safellm._core.detection.scanner import compile_scanner

    def parts(*texts: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text} for text in texts]

    at = world()
    at.scanner = compile_scanner()
    first, second = "card 4111 1111 ", "1111 1111 and more"
    body = chat("x")
    body["messages"][0]["content"] = parts(first, second)
    exchange, decision = at.begin(body)
    out = [part["text"] for part in sent(decision, body)["messages"][0]["content"]]
    assert out[0].startswith("card X-CREDIT_CARD-")
    assert out[1].startswith("X-CREDIT_CARD-")
    assert not any("1111" in text for text in out)
    assert content(answer(exchange, [reply(out[0] + "|" + out[1])])) == f"{first}|{second}"

    body["messages"] = [{"role": "user", "content": parts(first)}, {"role": "user", "content": parts(second)}]
    _, decision = at.begin(body)
    assert sent(decision, body) == body
