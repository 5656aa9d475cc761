"""What every detector and every guard of one's own must do: inherit a contract, say how one is made, and let pytest run it.

    class TestMine(DetectorContract):
        finds = {"My number is C-4711.": ["C-4711"]}
        passes = ("Nothing here.",)

        def make(self):
            return CustomerNumbers()

The tests call it with any text, in any order and from several threads, and ask the safellm that programs use whether a find is
hidden, a refusal stops the call, and an error lets nothing through.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from safellm import plugins
from safellm._core.plugged import DetectorFinder, Plugged
from safellm.errors import GuardFailure, Refused
from safellm.stores.plugged import found
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply

# Empty, white, long, right to left, combining, emoji, half a character, what looks like code, markup and placeholders.
AWKWARD = (
    "", " ", "\n\n\t", "a", "0", "x" * 20_000, "ä ö ü ß é", "שלום עולם", "日本語のテキスト", "e\u0301\u0327",
    "👩‍👩‍👧‍👦 🏳️‍🌈", "\ud800 half", "\x00\x07\x1b[31m",
    "\u200b\u202e\ufeff", '{"a": [1, 2]}',
    "<b>&amp;</b>", "X-EMAIL-7QK3ZB9XW2M4T6RP", "(((((((((((((", "\\" * 50, "%s %n {0} {{}}",
)  # fmt: skip
_NAME = "under-test"


class _Contract:
    """What guards and detectors have in common."""

    settings: Mapping[str, Any] = {}

    def make(self) -> Any:
        """Return a new one, as the policy would."""
        raise NotImplementedError

    def client(self, provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch, made: Any) -> Any:
        """Return a guarded client on a provider of this machine, with this plug-in alone."""
        from safellm.openai import OpenAI  # noqa: PLC0415 - loads the SDK

        monkeypatch.setenv("SAFELLM_HOME", str(home))
        monkeypatch.setenv("SAFELLM_KEYS_VAULT", "false")
        monkeypatch.setattr(found, "_registered", {("", _NAME): lambda: made})
        return OpenAI(base_url=provider.base_url, api_key="any", max_retries=0, safellm={"plugins": [_NAME]})


def _ask(client: Any, text: str, *, stream: bool = False) -> str:
    with client:
        answer = client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": text}], stream=stream
        )
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join(one.choices[0].delta.content or "" for one in answer if one.choices)


class DetectorContract(_Contract):
    """The tests of a detector.

    Attributes:
        finds: For each text, what it finds there, in order.
        passes: Texts in which it finds nothing.
    """

    finds: Mapping[str, list[str]] = {}
    passes: tuple[str, ...] = ()

    def found(self, detector: Any, text: str) -> list[str]:
        """Return what it finds, as safellm reads it."""
        spans = sorted((one.start, one.end) for one in DetectorFinder(_NAME, detector).find(text))
        return [text[start:end] for start, end in spans]

    def test_it_finds_what_it_says(self) -> None:
        """Each example is found, and nothing in the texts that should pass."""
        assert self.finds, "say in `finds` what it finds"
        detector = self.make()
        assert {text: self.found(detector, text) for text in self.finds} == dict(self.finds)
        assert {text: self.found(detector, text) for text in self.passes} == {text: [] for text in self.passes}

    def test_any_text_is_searched(self) -> None:
        """No text breaks it, and what it finds lies in the text."""
        detector = self.make()
        for text in AWKWARD:
            for around in (text, *(f"{text} {known} {text}" for known in self.finds)):
                self.found(detector, around)

    def test_order_and_threads_change_nothing(self) -> None:
        """The same text gives the same findings, whatever came before and whoever else asks."""
        texts = [*self.finds, *self.passes, *AWKWARD]
        detector = self.make()
        alone = [self.found(self.make(), text) for text in texts]
        assert [self.found(detector, text) for text in reversed(texts)] == alone[::-1]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda text: self.found(detector, text), texts)) == alone

    def test_what_it_finds_does_not_leave(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A find is hidden from the provider and put back into the answer."""
        for text, values in self.finds.items():
            with LoopbackProvider() as provider:
                answer = _ask(self.client(provider, tmp_path, monkeypatch, self.make()), text)
                sent = provider.requests[-1].json["messages"][0]["content"]
            for value in values:
                assert value not in sent
                assert value in answer

    def test_an_error_stops_the_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When it breaks, nothing is sent, and the error says nothing of the text."""

        class Broken:
            def find(self, text: str) -> list[Any]:
                raise RuntimeError(text)

        with LoopbackProvider() as provider:
            with pytest.raises(Refused) as caught:
                _ask(self.client(provider, tmp_path, monkeypatch, Broken()), "a text of its own")
            assert provider.requests == []
        assert "a text of its own" not in str(caught.value)


class GuardContract(_Contract):
    """The tests of a guard.

    Attributes:
        refuses: Texts of a user that it refuses.
        passes: Texts that it lets pass as they are.
        changes: Texts that it changes, and into what.
        refuses_answers: Texts of a model that it refuses.
    """

    refuses: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    changes: Mapping[str, str] = {}
    refuses_answers: tuple[str, ...] = ()

    def verdict(self, guard: Any, text: str) -> str:
        """Return what happens to a user's text: itself, another one, or `refused`."""
        view = plugins.RequestView(
            texts=(plugins.Text(text=text, role="user"),),
            provider="openai",
            operation="chat",
            model="gpt-5-mini",
            answerable=True,
        )
        try:
            verdict = Plugged(name=_NAME, guard=guard).ask(view)
            return verdict.text if isinstance(verdict, plugins.Answer) else verdict.get(0, text)
        except GuardFailure:
            raise
        except Refused as error:
            said = str(error)
        assert len(text.strip()) < _QUOTED or text not in said, "the refusal quotes the text"
        return "refused"

    def test_it_decides_as_it_says(self) -> None:
        """Each example is refused, changed or passes."""
        assert self.refuses or self.changes or self.refuses_answers, (
            "say in `refuses`, `changes` or `refuses_answers` what it does"
        )
        guard = self.make()
        wanted = {**dict.fromkeys(self.refuses, "refused"), **{one: one for one in self.passes}, **self.changes}
        assert {text: self.verdict(guard, text) for text in wanted} == wanted

    def test_any_text_gets_a_verdict(self) -> None:
        """No text breaks it."""
        guard = self.make()
        for text in AWKWARD:
            self.verdict(guard, text)
        assert Plugged(name=_NAME, guard=guard).ask(plugins.RequestView(texts=())) in ({}, None)

    def test_order_and_threads_change_nothing(self) -> None:
        """The same text gets the same verdict, whatever came before and whoever else asks."""
        texts = [*self.refuses, *self.passes, *self.changes, *AWKWARD]
        guard = self.make()
        alone = [self.verdict(self.make(), text) for text in texts]
        assert [self.verdict(guard, text) for text in reversed(texts)] == alone[::-1]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda text: self.verdict(guard, text), texts)) == alone

    def test_what_it_refuses_is_not_sent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refusal stops the call before a byte leaves, and a change is what the provider gets."""
        for text in (*self.refuses, *self.changes):
            with LoopbackProvider() as provider:
                client = self.client(provider, tmp_path, monkeypatch, self.make())
                if text in self.changes:
                    _ask(client, text)
                    assert text not in provider.requests[-1].json["messages"][0]["content"]
                    continue
                with pytest.raises(Refused):
                    _ask(client, text)
                assert provider.requests == []

    def test_a_refused_answer_is_not_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that it refuses reaches the program in no part, streamed or not, however it is cut."""
        for text in self.refuses_answers:
            for size in (1, 7, 1 << 20):
                for stream in (False, True):
                    with LoopbackProvider(write_chunks=lambda body, size=size: _cut(body, size)) as provider:  # type: ignore[misc]
                        provider.reply_with(Reply(text=text))
                        client = self.client(provider, tmp_path, monkeypatch, self.make())
                        with pytest.raises(Refused):
                            _ask(client, "Hello", stream=stream)

    def test_an_error_stops_the_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When it breaks, nothing is sent, and the error says nothing of the text."""

        class Broken:
            def on_request(self, request: plugins.RequestView) -> None:
                raise RuntimeError(request.texts[0].text)

        with LoopbackProvider() as provider:
            with pytest.raises(Refused) as caught:
                _ask(self.client(provider, tmp_path, monkeypatch, Broken()), "a text of its own")
            assert provider.requests == []
        assert "a text of its own" not in str(caught.value)


_QUOTED = 12  # characters from which on a text is known again in an error


def _cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]
