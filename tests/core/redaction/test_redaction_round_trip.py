"""P6: whatever is found, and wherever it stands, the text comes back as it was."""

from __future__ import annotations

import secrets

from awkward_texts import cuts, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core.detection.finding import Finding
from safellm._core.placeholder import PATTERN, make_placeholder
from safellm._core.policy import Action, Redaction
from safellm._core.redaction.back import find, put_back
from safellm._core.redaction.memory import Memory
from safellm._core.restore import Restorer
from safellm.redaction import Redacted, Tools, redact_with
from safellm.stores.conversations import Conversations

KEY = b"k" * 32
FORGED = make_placeholder(b"x" * 32, "s", "EMAIL", "alice@example.com")
VALUES = {
    "EMAIL": "alice@corp.test",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "PHONE": "+1 212 555 7890",
    "IBAN": "DE89370400440532013000",
    "IP_ADDRESS": "10.1.2.3",
    "US_SSN": "123-45-6789",
}
PIECES = [FORGED, FORGED.lower(), FORGED[:20], *VALUES.values(), "ABC", "0123456789ABCDEF", "x-", "X - "]


class Spans:
    """Finds what it is told."""

    def __init__(self, *found: Finding) -> None:
        self.found = found

    def scan(self, text: str) -> tuple[Finding, ...]:
        """Return the findings that lie in the text."""
        return tuple(one for one in self.found if one.end <= len(text))


class Values:
    """Finds every value of the table."""

    def scan(self, text: str) -> tuple[Finding, ...]:
        """Return every place of every value."""
        found = []
        for kind, value in VALUES.items():
            start = text.find(value)
            while start != -1:
                found.append(Finding(type=kind, rule="value", start=start, end=start + len(value)))
                start = text.find(value, start + len(value))
        return tuple(found)


def redact(text: str, scanner: object, memory: Memory, **policy: object) -> Redacted:
    """Redact one text."""
    tools = Tools(
        redaction=Redaction.model_validate(policy),
        scanner=scanner,  # type: ignore[arg-type]
        key=KEY,
        conversations=Conversations(),
    )
    return redact_with(tools, text, memory)


@st.composite
def found_texts(draw: st.DrawFn) -> tuple[str, Spans]:
    """Return a text and any spans of it."""
    text = draw(texts(*PIECES))
    edges = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(edges, edges, st.sampled_from(["EMAIL", "SECRET"])), max_size=5))
    return text, Spans(
        *(Finding(type=kind, rule="drawn", start=min(a, b), end=max(a, b)) for a, b, kind in spans if a != b)
    )


@settings(max_examples=400)
@given(found_texts())
def test_p6_round_trip_for_any_text_and_any_findings(case: tuple[str, Spans]) -> None:
    """`restore(redact(x)) == x`: look-alikes, adjacent and overlapping findings, findings that cut a word or a look-alike."""
    text, scanner = case
    redacted = redact(text, scanner, Memory("s"))
    assert redacted.restore() == text
    for change in redacted.changes:
        assert text[change.finding.start : change.finding.end]
        assert PATTERN.fullmatch(redacted[change.start : change.end])


@settings(max_examples=300)
@given(found_texts(), st.data())
def test_p6_round_trip_in_any_chunking(case: tuple[str, Spans], data: st.DataObject) -> None:
    """The same in pieces, as a stream brings them."""
    text, scanner = case
    memory = Memory("s")
    redacted = str(redact(text, scanner, memory))
    restorer = Restorer(mapping=memory, allowed=lambda *_: True)
    out = [restorer.feed(piece) for piece in cuts(redacted, data)]
    assert "".join([*out, restorer.finish()]) == text


@settings(max_examples=300)
@given(texts(*PIECES), st.data())
def test_a21_round_trip_with_surrogates_in_any_chunking(text: str, data: st.DataObject) -> None:
    """Surrogates come back like placeholders, and no text of the program is ever taken for one."""
    memory = Memory("s")
    redacted = redact(text, Values(), memory, default="surrogate")
    assert redacted.restore() == text
    restorer = Restorer(mapping=memory, allowed=lambda *_: True, tolerant=True)
    out = [restorer.feed(piece) for piece in cuts(str(redacted), data)]
    assert "".join([*out, restorer.finish()]) == text


@settings(max_examples=50)
@given(st.sampled_from(sorted(VALUES)))
def test_a21_a_surrogate_that_stands_in_the_text_is_not_used(kind: str) -> None:
    """A text that holds what would be the surrogate gets another one, and comes back as it was."""
    value = VALUES[kind]
    first = str(redact(value, Values(), Memory("s"), default="surrogate"))
    assert first != value
    text = f"{first} and {value}, {first.upper()}"
    redacted = redact(text, Values(), Memory("s"), default="surrogate")
    assert redacted.startswith(first)
    assert redacted.restore() == text


def test_p6_a_value_with_letters_behind_it_comes_back() -> None:
    """A placeholder can't be told from the word that follows it, so the word is hidden with it."""
    text = "key=ABCDEFtail, next"
    redacted = redact(text, Spans(Finding(type="SECRET", rule="r", start=4, end=10)), Memory("s"))
    assert "tail" not in redacted
    assert redacted.restore() == text


def test_r_8_conversations_share_nothing() -> None:
    """What one conversation hid is unknown in another, mangled or not, as placeholder or surrogate."""
    one, other = Memory("one"), Memory("other")
    text = " ".join(VALUES.values())
    redact(text, Values(), other, default="surrogate")
    for action in Action.MASK, Action.SURROGATE:
        redacted = str(redact(text, Values(), one, default=action))
        assert put_back(other, redacted, allowed=lambda *_: True)[0] == redacted
        assert put_back(other, redacted.lower(), allowed=lambda *_: True)[0] == redacted.lower()


def test_r_3_forged_mangled_placeholders_are_never_restored() -> None:
    """100,000 guesses in mangled forms, bare digits included: none is known."""
    memory = Memory("s")
    redact(" ".join(VALUES.values()), Values(), memory)
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    digits = ["".join(secrets.choice(alphabet) for _ in range(16)) for _ in range(25_000)]
    for form in ("{}", "x-email-{}", "X\\-EMAIL\\-{}", "EMAIL-{}"):
        text = " ".join(form.format(one) for one in digits)
        assert all(found.value is None for found in find(memory, text))
