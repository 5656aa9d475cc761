"""Guards and detectors of one's own: what they say counts, and whatever they do wrong stops the call."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openai
import safellm
from safellm import plugins
from safellm.openai import AsyncOpenAI, OpenAI
from safellm.plugins import AnswerView, Change, Found, Refuse, RequestView, Text
from safellm.stores.plugged import found
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply

Register = Callable[[str, Any], None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch, home: Path) -> Register:
    """Offer plug-ins to this test alone."""
    monkeypatch.setattr(found, "_registered", {})
    return plugins.register


def client(provider: LoopbackProvider, *names: str, **settings: Any) -> OpenAI:
    return OpenAI(
        base_url=provider.base_url, api_key="any", max_retries=0, safellm={"plugins": list(names), **settings}
    )


def ask(made: Any, text: str = "Hello", *, stream: bool = False, api: str = "chat") -> str:
    with made:
        if api == "responses":
            answer = made.responses.create(model="gpt-5-mini", input=text, stream=stream)
            if not stream:
                return str(answer.output_text)
            return "".join(one.delta for one in answer if one.type == "response.output_text.delta")
        answer = made.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": text}], stream=stream
        )
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join(one.choices[0].delta.content or "" for one in answer if one.choices)


class Says:
    """A guard that says what a test wants, and remembers what it saw."""

    def __init__(self, request: Any = None, answer: Any = None) -> None:
        self.said, self.said_of_answer = request, answer
        self.seen: list[Any] = []
        self.threads: list[threading.Thread] = []

    def _say(self, view: Any, said: Any) -> Any:
        self.seen.append(view)
        self.threads.append(threading.current_thread())
        if isinstance(said, Exception):
            raise said
        return said(view) if callable(said) else said

    def on_request(self, request: RequestView) -> Any:
        return self._say(request, self.said)


class SaysBoth(Says):
    """The same for answers."""

    def on_answer(self, answer: AnswerView) -> Any:
        return self._say(answer, self.said_of_answer)


def test_a_guard_sees_the_request_as_the_program_wrote_it(register: Register, provider: LoopbackProvider) -> None:
    """Texts with their roles and places, real values included; the provider gets them hidden."""
    guard = Says()
    register("says", lambda: guard)
    with client(provider, "says") as made:
        made.chat.completions.create(
            model="gpt-5-mini",
            messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Mail jane@example.com"}],
            tool_choice="auto",
            tools=[{"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {}}}],
        )
    (view,) = guard.seen
    assert (view.provider, view.operation, view.model, view.streams) == ("openai", "chat", "gpt-5-mini", False)
    assert view.texts == (
        Text(text="Be short.", role="system", own=True, place="/messages/0/content"),
        Text(text="Mail jane@example.com", role="user", place="/messages/1/content"),
        Text(text="Finds.", role="system", own=True, place="/tools/0/function/description"),
    )
    assert "jane" not in repr(view)
    assert "jane" not in str(provider.requests[-1].json)


def test_a_refusal_stops_the_call(register: Register, provider: LoopbackProvider, records: Any) -> None:
    """As the SDK's own error, with the guard's words; nothing is sent; the trail names guard and reason."""
    register("says", lambda: Says(Refuse("Not about this", "Ask otherwise.")))
    with pytest.raises(
        safellm.Refused, match=r"Not about this \[plugin:says: plugin.refused\]. Ask otherwise."
    ) as caught:
        ask(client(provider, "says"))
    assert isinstance(caught.value, openai.BadRequestError)
    assert provider.requests == []
    denied = records()[-1]
    assert (denied["event.name"], denied["reason"], denied["safellm.guard"]) == (
        "policy.deny",
        "plugin.refused",
        "plugin:says",
    )


def test_what_a_guard_puts_in_is_searched_as_well(register: Register, provider: LoopbackProvider) -> None:
    """A change is what the next guard sees and what is redacted."""
    second = Says()
    register("first", lambda: Says(lambda view: Change({0: view.texts[0].text + " Mail bob@example.com."})))
    register("second", lambda: second)
    answer = ask(client(provider, "first", "second"), "Hello.")
    assert second.seen[0].texts[0].text == "Hello. Mail bob@example.com."
    assert "bob@example.com" not in str(provider.requests[-1].json)
    assert "bob@example.com" in answer


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_seen_whole_and_refused_whole(
    register: Register, home: Path, outcome: Any, *, stream: bool, size: int, api: str
) -> None:
    """However it comes: a guard sees one text, with values put back, and none of a refused one reaches the program."""
    guard = SaysBoth(answer=lambda view: Refuse("No") if "secret plan" in view.texts[0].text else None)
    register("says", lambda: guard)
    with LoopbackProvider(
        write_chunks=lambda body: (body[at : at + size] for at in range(0, len(body), size))
    ) as provider:
        provider.reply_with(Reply(text="It is fine, jane@example.com."), Reply(text="The secret plan is this."))
        made = client(provider, "says")
        assert ask(made, "I am jane@example.com", stream=stream, api=api) == "It is fine, jane@example.com."
        assert [(one.text, one.role) for one in guard.seen[-1].texts] == [
            ("It is fine, jane@example.com.", "assistant")
        ]
        assert guard.seen[-1].streams is stream
        with pytest.raises(safellm.Refused, match="plugin:says") as caught:
            ask(client(provider, "says"), stream=stream, api=api)
        assert caught.value.sent
        assert "secret plan" not in str(caught.value)
    assert outcome()["reason"] == "plugin.refused"


@pytest.mark.parametrize("stream", [False, True])
def test_words_of_the_request_that_come_back_are_no_answer(
    register: Register, provider: LoopbackProvider, *, stream: bool
) -> None:
    """Also where filters look at such a word: `tool_choice` is `auto`, and so is a value that another conversation hides."""
    safellm.register_values(["auto"], "CUSTOMER")
    guard = SaysBoth()
    register("says", lambda: guard)
    provider.reply_with(Reply(text="It is fine."))
    assert ask(client(provider, "says"), stream=stream, api="responses") == "It is fine."
    assert [one.text for one in guard.seen[-1].texts] == ["It is fine."]


def test_an_answer_can_be_changed_unless_it_streams(register: Register, provider: LoopbackProvider) -> None:
    """A stream that a guard wants to change is refused rather than passed."""
    register("says", lambda: SaysBoth(answer=lambda view: Change({0: view.texts[0].text.replace("Hello", "***")})))
    assert ask(client(provider, "says")) == 'You wrote: "***"'
    with pytest.raises(safellm.GuardFailure, match="streamed"):
        ask(client(provider, "says"), stream=True)


def test_answers_stream_at_once_where_no_guard_looks_at_them(register: Register, provider: LoopbackProvider) -> None:
    """A guard of requests alone holds nothing back."""
    register("says", lambda: Says())
    provider.reply_with(Reply(chunks=("one ", "two ", "three")))
    with client(provider, "says") as made:
        stream = made.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        assert len([one for one in stream if one.choices and one.choices[0].delta.content]) == 3


def test_an_error_of_the_provider_is_not_asked_about(register: Register, provider: LoopbackProvider) -> None:
    """It reaches the program as what it is."""
    register("says", lambda: SaysBoth(answer=Refuse("No")))
    provider.reply_with(Reply(status=404, text="no such model"))
    with pytest.raises(openai.NotFoundError):
        ask(client(provider, "says"))


async def _verdict(_: Any) -> None:
    """A verdict that nobody waits for."""


@pytest.mark.parametrize(
    "said",
    [
        ValueError("a text of its own"),
        False,
        "fine",
        _verdict,
        Change({7: "x"}),
        Change({0: None}),  # type: ignore[dict-item]
    ],
    ids=["error", "bool", "text", "coroutine", "place", "none"],
)
def test_a_guard_that_breaks_stops_the_call(register: Register, provider: LoopbackProvider, said: Any) -> None:
    """Whatever isn't a verdict: nothing is sent, or no part of the answer is seen; the error quotes nothing."""
    register("asked", lambda: Says(said))
    with pytest.raises(safellm.GuardFailure, match="plug-in asked") as caught:
        ask(client(provider, "asked"), "a text of its own")
    assert "its own" not in str(caught.value)
    assert provider.requests == []
    register("answers", lambda: SaysBoth(answer=said))
    for stream in (False, True):
        with pytest.raises(safellm.GuardFailure, match="plug-in answers"):
            ask(client(provider, "answers"), stream=stream)


def test_what_observe_mode_finds_is_noted(register: Register, provider: LoopbackProvider, records: Any) -> None:
    """It refuses and changes nothing, of requests and answers."""
    register("says", lambda: SaysBoth(Refuse("No"), Refuse("No")))
    for stream in (False, True):
        assert ask(client(provider, "says", mode="observe"), stream=stream) == 'You wrote: "Hello"'
    assert [one["safellm.would_refuse"] for one in records() if one["event.name"] == "call.intent"] == [
        ["plugin.refused"]
    ] * 2


def test_a_slow_guard_leaves_the_event_loop_alone(register: Register, provider: LoopbackProvider) -> None:
    """It is asked in another thread, of requests and answers, unless it says that it only computes."""
    slow, quick = SaysBoth(), SaysBoth()
    quick.blocking = False  # type: ignore[attr-defined]
    register("slow", lambda: slow)
    register("quick", lambda: quick)

    async def call(name: str) -> None:
        async with AsyncOpenAI(base_url=provider.base_url, api_key="any", safellm={"plugins": [name]}) as made:
            message: Any = {"role": "user", "content": "Hello"}
            await made.chat.completions.create(model="gpt-5-mini", messages=[message])
            async for _ in await made.chat.completions.create(model="gpt-5-mini", messages=[message], stream=True):
                pass

    for name in ("slow", "quick"):
        asyncio.run(call(name))
    assert len(slow.threads) == len(quick.threads) == 4
    assert threading.main_thread() not in slow.threads
    assert set(quick.threads) == {threading.main_thread()}


def test_a_guard_may_ask_through_a_guarded_client(register: Register, provider: LoopbackProvider) -> None:
    """About its own call no guard is asked, so it ends; what it sends is redacted all the same."""

    class Asks:
        def on_request(self, request: RequestView) -> None:
            with client(provider, "asks") as made:
                made.moderations.create(input=request.texts[0].text)

    register("asks", Asks)
    ask(client(provider, "asks"), "Mail jane@example.com")
    assert [one.path.rpartition("/")[2] for one in provider.requests] == ["moderations", "completions"]
    assert not any("jane@example.com" in str(one.json) for one in provider.requests)


class Finds:
    """A detector that finds what a test wants."""

    def __init__(self, found: Any = None) -> None:
        self.found = found

    def find(self, text: str) -> Iterator[Any]:
        if isinstance(self.found, Exception):
            raise self.found
        at = text.find("4711")
        yield from self.found if self.found is not None else [Found(at, at + 4, "CUSTOMER")] if at >= 0 else []


def test_a_detector_s_find_is_hidden_and_comes_back(
    register: Register, provider: LoopbackProvider, records: Any
) -> None:
    """By the action of its type, counted in the record; `detect` and `redact` find it too."""
    register("finds", Finds)
    assert "4711" in ask(client(provider, "finds"), "Number 4711", stream=True)
    assert "X-CUSTOMER-" in provider.requests[-1].json["messages"][0]["content"]
    assert records()[0]["safellm.redaction.counts"] == {"CUSTOMER": 1}
    with pytest.raises(safellm.Refused, match="CUSTOMER"):
        ask(client(provider, "finds", **{"redaction.types": {"CUSTOMER": "block"}}), "Number 4711")


def test_a_detector_counts_without_a_client(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `detect` and `redact`."""
    register("finds", Finds)
    monkeypatch.setenv("SAFELLM_PLUGINS", "finds")
    assert [(one.type, one.rule) for one in safellm.detect("Number 4711")] == [("CUSTOMER", "plugin.finds")]
    assert "4711" not in safellm.redact("Number 4711")


@pytest.mark.parametrize(
    "found",
    [
        ValueError("a text of its own"),
        [Found(3, 3, "A")], [Found(-1, 3, "A")], [Found(0, 99, "A")], [Found(0, 1, "lower")], [Found(0, 1, "PLACEHOLDER")],
        [Found(0, 1, "A", 7.0)], [(0, 1, "A")], [None], 3,
    ],
)  # fmt: skip
def test_a_detector_that_breaks_stops_the_call(register: Register, provider: LoopbackProvider, found: Any) -> None:
    """An error, a place outside of the text, a type that is none: nothing is sent, and the error quotes nothing."""
    register("finds", lambda: Finds(found))
    with pytest.raises(safellm.GuardFailure, match="plug-in finds") as caught:
        ask(client(provider, "finds"), "a text of its own")
    assert "its own" not in str(caught.value)
    assert provider.requests == []


def test_an_unsure_find_does_not_count(register: Register, provider: LoopbackProvider) -> None:
    """Below a half, as with safellm's own detectors."""
    register("finds", lambda: Finds([Found(0, 5, "CUSTOMER", 0.49)]))
    ask(client(provider, "finds"), "Hello there")
    assert provider.requests[-1].json["messages"][0]["content"] == "Hello there"


def package(folder: Path, name: str, code: str, *, kind: str = "guards", plugin: str = "mine") -> None:
    """Install a package as pip leaves it: a module and its metadata."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code, "utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[safellm.{kind}]\n{plugin} = {module}:Mine\n", "utf-8")


GUARD = """
class Mine:
    def __init__(self, word="no"):
        self.word = word

    def on_request(self, request):
        raise KeyError(self.word)
"""


def test_an_installed_package_alone_changes_nothing(
    register: Register, provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It isn't even imported before the policy names it; then what it says counts."""
    (folder := tmp_path / "site").mkdir()
    package(folder, "alone", GUARD)
    monkeypatch.syspath_prepend(folder)
    assert ask(client(provider)) == 'You wrote: "Hello"'
    assert "alone" not in sys.modules
    there = [(one.name, one.kind, one.source) for one in plugins.offered()]
    assert [one for one in there if not one[2].startswith("safellm ")] == [("mine", "guard", "alone 1.0")]
    with pytest.raises(safellm.GuardFailure, match="plug-in mine broke"):
        ask(client(provider, "mine"))


def test_a_plug_in_that_can_not_be_had_stops_the_client(
    register: Register, provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, offered twice, not importable, made with wrong settings, or no guard: an error that says so."""
    (folder := tmp_path / "site").mkdir()
    package(folder, "first-of-two", GUARD)
    package(folder, "second-of-two", GUARD)
    package(folder, "unimportable", "import nothing_of_this_name", plugin="unimportable")
    package(folder, "no-guard-at-all", "class Mine: pass", plugin="no-guard")
    package(folder, "with-settings", GUARD, plugin="settled")
    monkeypatch.syspath_prepend(folder)
    register("nothing", object)
    wrong: tuple[tuple[tuple[str, ...], dict[str, Any], str], ...] = (
        (("missing",), {}, "isn't installed"),
        (("mine",), {}, "first-of-two 1.0 and second-of-two 1.0"),
        (("unimportable",), {}, "can't be imported"),
        (("no-guard",), {}, "no method on_request"),
        (("nothing",), {}, "no method"),
        (("settled",), {"settled": {"colour": 1}}, "can't be made"),
        (("settled",), {"setled": {"word": "x"}}, "isn't enabled"),
    )
    for names, settings, problem in wrong:
        with pytest.raises(safellm.ConfigurationError, match=problem):
            client(provider, *names, plugin_settings=settings)
    client(provider, "settled", plugin_settings={"settled": {"word": "x"}}).close()


def test_settings_make_instances_of_their_own(register: Register, home: Path) -> None:
    """Equal settings share one, other settings or another class have another."""
    made: list[dict[str, Any]] = []

    def make(**settings: Any) -> Says:
        made.append(settings)
        return Says()

    register("says", make)
    for settings in ({"a": [1]}, {"a": [1]}, {"a": [2]}, {}):
        plugins.load(("says",), {"says": settings})
    assert made == [{"a": [1]}, {"a": [2]}, {}]
    register("says", lambda **_: Says())
    plugins.load(("says",), {})
    assert len(made) == 3


def test_without_plug_ins_nothing_of_them_is_loaded(home: Path) -> None:
    """A client imports neither the kit nor the entry points."""
    code = (
        "import sys; from safellm import OpenAI; OpenAI(api_key='any', base_url='http://127.0.0.1:9/v1').close(); "
        "print('safellm.plugins' in sys.modules, 'safellm._core.detection.own' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]
