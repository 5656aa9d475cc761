"""Placeholders: what stands in for a hidden value, `X-EMAIL-7QK3ZB9XW2M4T6RP`.

* Unguessable: 80 bits of HMAC-SHA256 under a key that never leaves the process (THREATS R.3).
* The same value gets the same placeholder within one conversation, another one in the next (R.8).
* Letters, digits and hyphens only: Markdown, JSON, HTML, URLs and shells leave them alone.
* A look-alike in the program's own text is hidden like any value (type TEXT), so restoring gives it back as it was.

The encoding is Crockford's base32: no I, L, O, U, so a model that copies it has fewer ways to go wrong. The prefix was chosen
by trial: of six forms, a model of 135M parameters copied this one most faithfully (57 of 60; `SLM-` as prefix: 19 of 60).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safellm._core.account import Restored

PREFIX = "X-"
_FIRST = PREFIX[0]
LOOK_ALIKE_TYPE = "TEXT"
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS = 16  # of 5 bits each: 80 bits
_TYPE_LENGTH = 32
MAX_LENGTH = len(PREFIX) + _TYPE_LENGTH + 1 + _DIGITS

TYPE_NAME = rf"[A-Z][A-Z0-9_]{{0,{_TYPE_LENGTH - 1}}}"  # pattern of the names of types
# Used on text that has the prefix only; each part is bounded and unambiguous, so matching is linear.
PATTERN = re.compile(rf"X-{TYPE_NAME}-[0-9A-HJKMNP-TV-Z]{{{_DIGITS}}}(?![0-9A-Za-z])")

# What the first letter of a placeholder right behind it would make a placeholder's form.
ALMOST = re.compile(rf"X-{TYPE_NAME}-[0-9A-HJKMNP-TV-Z]{{{_DIGITS - 1}}}\Z")


def make_placeholder(key: bytes, scope: str, kind: str, value: str) -> str:
    """Return the placeholder of a value.

    Args:
        key: Secret of this process (or of the user, when conversations outlive processes); 32 bytes.
        scope: The conversation; values in different scopes can't be linked by their placeholders.
        kind: Type of the finding, upper case.
        value: The text that is hidden.
    """
    message = f"{scope}\x00{kind}\x00{value}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hmac.new(key, message, hashlib.sha256).digest()[:10], "big")
    digits = "".join(_ALPHABET[(number >> shift) & 31] for shift in range(75, -5, -5))
    return f"{PREFIX}{kind}-{digits}"


@dataclass(slots=True)
class Mapping:
    """Placeholders of one conversation and what they stand for. Grows only; safe to share between threads (one dict write).

    Args:
        _scope: The conversation, or what says it: most calls hide nothing, and never ask.
    """

    _scope: str | Callable[[], str]
    _values: dict[str, str] = field(default_factory=dict, repr=False)
    origins: dict[str, Restored] = field(default_factory=dict, repr=False)  # where each value stood first

    @property
    def scope(self) -> str:
        """The conversation; placeholders of different ones can't be linked."""
        if not isinstance(self._scope, str):
            self._scope = self._scope()
        return self._scope

    @scope.setter
    def scope(self, scope: str) -> None:
        self._scope = scope

    def hide(self, key: bytes, kind: str, value: str) -> str:
        """Return the placeholder of a value and remember it."""
        placeholder = make_placeholder(key, self.scope, kind, value)
        self._values[placeholder] = value
        return placeholder

    def value_of(self, placeholder: str) -> str | None:
        """Return what a placeholder stands for, or None if it isn't one of this conversation."""
        return self._values.get(placeholder)

    def type_of(self, value: str) -> str:
        """Return the type under which a value is hidden, or an empty text."""
        kept = next((one for one, known in list(self._values.items()) if known == value), "")
        return kept.removeprefix(PREFIX).rpartition("-")[0]

    def hides(self, value: str) -> bool:
        """Return whether a value is one that a placeholder stands for."""
        return value in self.hidden_values()

    def hidden_values(self) -> Iterator[str]:
        """Yield all that is hidden in this conversation."""
        return iter(list(self._values.values()))

    def __len__(self) -> int:
        return len(self._values)


def has_prefix(text: str) -> bool:
    """Return whether a placeholder may begin anywhere in a text; false is the usual, fast case."""
    # One character is searched twenty times faster than two, and prose rarely has it.
    return _FIRST in text and PREFIX in text


def find_placeholders(text: str) -> Iterator[re.Match[str]]:
    """Yield everything that has the form of a placeholder, known or not."""
    return PATTERN.finditer(text) if has_prefix(text) else iter(())


def open_end(text: str) -> int:
    """Return where in `text` a placeholder may have begun that more text could complete; `len(text)` if nowhere.

    The result is at most `MAX_LENGTH` before the end.
    """
    start = text.rfind(PREFIX[0], max(0, len(text) - MAX_LENGTH))
    best = len(text)
    while start != -1:
        if _may_grow(text[start:]):
            best = start
        start = text.rfind(PREFIX[0], max(0, len(text) - MAX_LENGTH), start)
    return best


_GROWING = re.compile(rf"X(?:-(?:{TYPE_NAME}(?:-[0-9A-HJKMNP-TV-Z]{{0,{_DIGITS}}})?)?)?\Z")


def _may_grow(tail: str) -> bool:
    # A complete placeholder at the very end "may grow" too: the next character could prove that it is none.
    return _GROWING.match(tail) is not None
