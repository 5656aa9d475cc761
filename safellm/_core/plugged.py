"""What detectors and guards of one's own are to the core: the values that they get and give, and how their word is taken.

Whatever a plug-in does but what it may do (an error, another value, a place outside the text) stops the call (promise P8).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from safellm._core.detection.finding import Finding
from safellm._core.placeholder import TYPE_NAME
from safellm.errors import GuardFailure, Reason, Refused

_TYPE: Final = re.compile(TYPE_NAME)
SETTINGS: Final = frozenset({"tool_choice"})  # keys whose words are nobody's text
_TAKEN: Final = "PLACEHOLDER"
_LEAST: Final = 0.5  # as the detectors of safellm: what is less sure isn't reported


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a detector found: `text[start:end]`, in Python's string indexes.

    Attributes:
        start: Where it begins.
        end: Where it ends; behind `start`.
        type: What it is: capitals, digits and underscores, as in `[redaction.types]`.
        confidence: How sure that is, 0 to 1. What is below 0.5 doesn't count.
    """

    start: int
    end: int
    type: str
    confidence: float = 1.0


@runtime_checkable
class Detector(Protocol):
    """Finds things in one text. The same text always gives the same findings; threads may share a detector."""

    def find(self, text: str) -> Iterable[Found]:
        """Return what is in a text, in any order; overlaps are settled by the caller."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text of a request or an answer.

    Attributes:
        text: What stands there.
        role: Who wrote it: system, developer, user, assistant, tool, or what the provider calls it. Where the body doesn't say it,
            system for the program's own text, user for the rest of a request, assistant in an answer.
        own: The program wrote it itself (instructions, descriptions of tools), rather than passing it on.
        place: Where it stands in the body, as a JSON pointer.
    """

    text: str = field(repr=False)
    role: str = ""
    own: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request before anything is hidden in it: guards of one's own run on this machine and see what the program wrote.

    Attributes:
        provider: openai, anthropic, google and so on.
        operation: What is called: chat, embeddings and so on.
        model: The model that is asked, or an empty text.
        streams: An answer in pieces is asked for.
        texts: All texts but names, addresses, binary data and tools' arguments, in the order of the body.
        answerable: A guard may answer it in the provider's place: one text is asked for, of nobody who remembers.
        user: Whose call it is, as far as the program said so (`safellm.labels(user=…)`), and its grant.
        digest: Of all that is sent but whether it is streamed, under this installation's key; only for `on_sending`.
        digest_around: The same without the last text of a user; only for `on_sending`.
    """

    texts: tuple[Text, ...]
    provider: str = ""
    operation: str = ""
    model: str = ""
    streams: bool = False
    answerable: bool = False
    user: str = ""
    digest: str = ""
    digest_around: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """An answer as the program would get it, values put back; a streamed one when it is whole.

    Attributes:
        provider: As in the request.
        operation: As in the request.
        model: The model that was asked.
        streams: It came in pieces, which can't be changed any more: they pass, or the call is refused.
        texts: What the model wrote.
        request: What was sent, as `on_sending` saw it; only for `on_done`.
    """

    texts: tuple[Text, ...]
    provider: str = ""
    operation: str = ""
    model: str = ""
    streams: bool = False
    request: RequestView | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer in the provider's place: nothing is sent, and nothing is charged.

    The program gets the text in the shape of its SDK, streamed if it asked for that. Guards that are asked later may still refuse.

    Attributes:
        text: What the program gets; it passes the guards of answers like a model's.
    """

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Stop the call.

    Attributes:
        what: Why, for the person who reads the error. It must not quote a text.
        remedy: What to do next, in one sentence.
    """

    what: str
    remedy: str = "Change the request, or ask whoever set the guard."


@dataclass(frozen=True, slots=True)
class Change:
    """Go on with other texts.

    Attributes:
        texts: The new text by its place in `view.texts`; all others stay.
    """

    texts: Mapping[int, str] = field(repr=False)


Verdict: TypeAlias = Refuse | Change | Answer | None


class Guard(Protocol):
    """Decides about requests; with a method `on_answer` as well, about answers. Threads may share a guard.

    A guard that only looks at answers has an `on_request` that returns None.
    """

    def on_request(self, request: RequestView) -> Verdict:
        """Return None to let it go on, a `Refuse`, a `Change`, or an `Answer` if the request is `answerable`."""
        ...


@runtime_checkable
class SendingGuard(Protocol):
    """A guard that also sees a request as it will be sent: secrets and personal data are placeholders there."""

    def on_sending(self, request: RequestView) -> Refuse | Answer | None:
        """Return None to let it be sent, a `Refuse`, or an `Answer` if the request is `answerable`."""
        ...


@runtime_checkable
class DoneGuard(Protocol):
    """A guard that is told of each answer of one plain text, once the program has all of it. It holds no stream."""

    def on_done(self, answer: AnswerView) -> None:
        """Take note. An error is the call's error."""
        ...


@runtime_checkable
class AnswerGuard(Protocol):
    """A guard of answers. A streamed answer is held until it is whole, and then passes as it is or not at all."""

    def on_answer(self, answer: AnswerView) -> Verdict:
        """Return None to let it go on, a `Refuse`, or a `Change` (of an answer that isn't streamed)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugged:
    """A guard with the name that the policy enables it by."""

    name: str
    guard: Any

    @property
    def id(self) -> str:
        """What errors and records call it."""
        return f"plugin:{self.name}"

    @property
    def answers(self) -> bool:
        """Whether it looks at answers."""
        return isinstance(self.guard, AnswerGuard)

    @property
    def sees_sending(self) -> bool:
        """Whether it looks at what is sent."""
        return isinstance(self.guard, SendingGuard)

    @property
    def sees_done(self) -> bool:
        """Whether it is told of answers that are over."""
        return isinstance(self.guard, DoneGuard)

    def ask(self, view: RequestView | AnswerView) -> Mapping[int, str] | Answer:
        """Return the texts that are to be changed, or the answer in the provider's place.

        Raises:
            Refused: `plugin.refused`: it said so.
            GuardFailure: It broke, or said something else than it may.
        """
        sent = isinstance(view, AnswerView)
        return self._asked(self.guard.on_answer if sent else self.guard.on_request, view, sent=sent)

    def ask_sending(self, view: RequestView) -> Answer | None:
        """Return the answer in the provider's place, if there is one.

        Raises:
            Refused: as `ask`.
        """
        said = self._asked(self.guard.on_sending, view, sent=False)
        if isinstance(said, Answer):
            return said
        if said:
            raise broken(self.id, "changes what is sent; on_request may do that")
        return None

    def tell_done(self, view: AnswerView) -> None:
        """Tell of an answer that is over.

        Raises:
            GuardFailure: It broke.
        """
        if self._asked(self.guard.on_done, view, sent=True):
            raise broken(self.id, "changes an answer that the program has", sent=True)

    def _asked(self, method: Any, view: RequestView | AnswerView, *, sent: bool) -> Mapping[int, str] | Answer:
        try:
            verdict = method(view)
        except Exception as error:  # noqa: BLE001 - whatever breaks in a guard stops the call (P8)
            # The message and the frames may hold the text.
            failure = broken(self.id, f"broke ({type(error).__name__})", sent=sent)
        else:
            return self._taken(verdict, view, sent=sent)
        raise failure

    def _taken(self, verdict: object, view: RequestView | AnswerView, *, sent: bool) -> Mapping[int, str] | Answer:
        if verdict is None:
            return {}
        if isinstance(verdict, Answer) and isinstance(view, RequestView) and isinstance(verdict.text, str):
            if not view.answerable:
                raise broken(self.id, "answers a call that only the provider can answer (request.answerable is False)")
            return verdict
        if isinstance(verdict, Refuse):
            raise Refused(
                str(verdict.what),
                guard=self.id,
                reason=Reason.PLUGIN_REFUSED,
                remedy=str(verdict.remedy),
                status=400,
                sent=sent,
            )
        if isinstance(verdict, Change):
            if (
                sent
                and view.streams
                and any(view.texts[i].text != t for i, t in verdict.texts.items() if _is_place(i, view))
            ):
                raise broken(self.id, "wants to change a streamed answer, which can't be changed", sent=sent)
            if all(_is_place(index, view) and isinstance(text, str) for index, text in verdict.texts.items()):
                return verdict.texts
            raise broken(self.id, "changes a text that isn't there", sent=sent)
        if hasattr(verdict, "close") and hasattr(verdict, "__await__"):
            verdict.close()
            raise broken(
                self.id, "is asynchronous; write plain functions, they run in a thread of their own", sent=sent
            )
        raise broken(self.id, f"said something that is no verdict ({type(verdict).__name__})", sent=sent)


def _is_place(index: object, view: RequestView | AnswerView) -> bool:
    return isinstance(index, int) and 0 <= index < len(view.texts)


def wants_answers(guards: Sequence[Plugged]) -> bool:
    """Return whether a guard looks at answers."""
    return any(one.answers for one in guards)


def broken(name: str, what: str, *, sent: bool = False) -> GuardFailure:
    """Return the error of a plug-in that can't be relied on."""
    return GuardFailure(
        f"The plug-in {name.partition(':')[2]} {what}",
        guard=name,
        reason=Reason.GUARD_ERROR,
        remedy="Mend it, or take it out of `plugins` in the policy. safellm.testing has the contract that it has to keep.",
        sent=sent,
    )


class DetectorFinder:
    """Finds what a detector of one's own finds.

    Args:
        name: Of the plug-in.
        detector: Its instance.
    """

    __slots__ = ("_detector", "_name")

    def __init__(self, name: str, detector: Detector) -> None:
        self._name = name
        self._detector = detector

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return what is in a text.

        Raises:
            GuardFailure: The detector broke, or found something outside the text.
        """
        try:
            said = list(self._detector.find(text))
        except Exception as error:  # noqa: BLE001 - whatever breaks in a detector stops the call (P8)
            failure = broken(f"plugin:{self._name}", f"broke ({type(error).__name__})")
        else:
            return tuple(self._finding(one, len(text)) for one in said if not self._is_unsure(one))
        raise failure

    def _is_unsure(self, one: object) -> bool:
        sure = getattr(one, "confidence", None)
        if not isinstance(sure, int | float) or not 0 <= sure <= 1:
            raise broken(f"plugin:{self._name}", "found something without a confidence from 0 to 1")
        return sure < _LEAST

    def _finding(self, one: Found, length: int) -> Finding:
        kind, start, end = (getattr(one, name, None) for name in ("type", "start", "end"))
        if not isinstance(kind, str) or _TYPE.fullmatch(kind) is None or kind == _TAKEN:
            raise broken(
                f"plugin:{self._name}", "found something whose type is no name of capitals, digits and underscores"
            )
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
            raise broken(f"plugin:{self._name}", "found something outside the text")
        return Finding(type=kind, rule=f"plugin.{self._name}", start=start, end=end, confidence=float(one.confidence))
