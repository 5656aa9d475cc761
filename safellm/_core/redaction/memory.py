"""Everything that one conversation hides: placeholders, surrogates and marks, and how each is found in an answer."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Values
from dataclasses import dataclass, field
from itertools import islice

from safellm._core.placeholder import Mapping
from safellm._core.redaction.spots import Marks

DIGITS = 16  # characters of a placeholder that name the value
# Lower case without a change of length, which `str.lower` doesn't promise.
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_WORD = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z+(\[]")  # where a surrogate may begin


@dataclass(slots=True)
class Memory(Mapping):
    """A mapping that also knows surrogates and marks. Grows only.

    Attributes:
        marks: Values that the program marked and that may be used in this conversation.
    """

    marks: Marks | None = None
    _fakes: dict[str, str] = field(default_factory=dict, repr=False)  # surrogate, in lower case: value
    _fake_of: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    _aliases: set[str] = field(default_factory=set, repr=False)
    _beginnings: set[str] = field(default_factory=set, repr=False)
    _by_digits: dict[str, str] = field(default_factory=dict, repr=False)
    _longest: int = 0
    _shortest: int = 1 << 30

    def fake_of(self, kind: str, value: str) -> str | None:
        """Return the surrogate of a value, if it has one."""
        return self._fake_of.get((kind, value))

    def value_of_fake(self, text: str) -> str | None:
        """Return what a surrogate stands for, or None."""
        return self._fakes.get(text.translate(_LOWER)) if self._fakes else None

    def remember_fake(self, kind: str, value: str, fake: str, aliases: Iterable[str] = ()) -> bool:
        """Remember a surrogate; False when the text already stands for something else.

        Args:
            kind: Type of the value.
            value: What is hidden.
            fake: What stands for it.
            aliases: The same surrogate, written another way; a surrogate of its own comes before it.
        """
        lower = fake.translate(_LOWER)
        if lower in self._fakes and lower not in self._aliases:
            return False
        self._aliases.discard(lower)
        self._add(lower, value)
        for alias in aliases:
            if (other := alias.translate(_LOWER)) not in self._fakes:
                self._aliases.add(other)
                self._add(other, value)
        self._fake_of[kind, value] = fake
        return True

    def fakes(self) -> Iterator[tuple[str, str, str]]:
        """Yield type, value and surrogate, for a store."""
        return ((kind, value, fake) for (kind, value), fake in self._fake_of.items())

    def placeholders(self) -> Iterator[tuple[str, str]]:
        """Yield placeholder and value, for a store."""
        return iter(self._values.items())

    def hidden_values(self) -> Iterator[str]:
        """Yield all that is hidden in this conversation, whatever stands for it."""
        return iter([*self._values.values(), *(value for _, value in list(self._fake_of))])

    def learn(self, placeholder: str, value: str) -> None:
        """Take back what a store kept."""
        self._values[placeholder] = value

    def by_digits(self) -> Values[str, str]:
        """Return the values by the last sixteen characters of their placeholders, which are all that tells them apart."""
        known = len(self._by_digits)
        if known < len(self._values):  # it only grows, and keeps its order
            for placeholder, value in list(islice(self._values.items(), known, None)):
                self._by_digits[placeholder[-DIGITS:]] = value
        return self._by_digits

    @property
    def has_fakes(self) -> bool:
        """Whether there is any surrogate."""
        return bool(self._fakes)

    @property
    def size(self) -> int:
        """How much there is to remember; it only grows."""
        return len(self._values) + len(self._fake_of)

    def __len__(self) -> int:
        return self.size

    def find_fakes(self, text: str, previous: str = "") -> Iterator[tuple[int, int, str]]:
        """Yield start, end and value of each surrogate; it must stand by itself, not inside a longer word or number.

        Args:
            text: Any text.
            previous: The character before it.
        """
        if len(text) < self._shortest:
            return
        lower = text.translate(_LOWER)
        position = 0
        while (start := _next_word(lower, position, previous)) is not None:
            end = self._reach(lower, start)
            while end > start and (lower[start:end] not in self._fakes or lower[end : end + 1].isalnum()):
                end -= 1
            if end > start:
                yield start, end, self._fakes[lower[start:end]]
            position = max(end, start + 1)

    def open_fake(self, text: str, previous: str = "") -> int:
        """Return where in `text` a surrogate may have begun that more text could complete or spoil; `len(text)` if nowhere."""
        begin = max(0, len(text) - self._longest)
        previous = text[begin - 1] if begin else previous
        lower = text[begin:].translate(_LOWER)
        position = 0
        while (start := _next_word(lower, position, previous)) is not None:
            if self._reach(lower, start) == len(lower):
                return begin + start
            position = start + 1
        return len(text)

    def _reach(self, lower: str, start: int) -> int:
        end = start + 1
        while end <= len(lower) and lower[start:end] in self._beginnings:
            end += 1
        return end - 1

    def _add(self, lower: str, value: str) -> None:
        self._fakes[lower] = value
        self._longest = max(self._longest, len(lower))
        self._shortest = min(self._shortest, len(lower))
        self._beginnings.update(lower[:end] for end in range(1, len(lower) + 1))


def _next_word(text: str, position: int, previous: str) -> int | None:
    found = _WORD.search(text, position)
    if found is not None and found.start() == 0 and previous.isascii() and previous.isalnum():
        found = _WORD.search(text, 1)
    return None if found is None else found.start()
