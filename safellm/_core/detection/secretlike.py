"""Checks that tell a secret from a sample, a name, a path or an expression."""

# ruff: noqa: PLR2004 - thresholds are explained by the sentence of their function
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from safellm._core.detection.context import Spans

# In random text of a key's length none of these happens by chance; in documentation they are how people write "put yours here".
_SAMPLE_PARTS = (
    "xxxx", "example", "sample", "placeholder", "changeme", "change_me", "change-me", "replace", "redacted",
    "insert", "your_", "your-", "yourapi", "yourkey", "yoursecret", "yourtoken", "yourpass", "_here", "-here",
    "dummy", "1234567890", "0123456789", "abcdefghij", "....", "****", "____", "lorem", "foobar", "<", ">", "{{",
    "${", "$(", "…", "fixme", "not_set", "not-set", "mysecret", "my-secret", "my_secret",
)  # fmt: skip
_SAMPLE_VALUES = frozenset(
    "password passwd pass pwd secret token apikey api_key key user username admin root test testing string none null true false "
    "undefined default required optional changeit unknown value hidden masked disabled enabled bearer basic n/a todo".split()
)
_SAMPLE_LENGTH = 200  # characters; a longer random text could hold a part by chance
_EXPRESSION = frozenset("()[]{}<>;`|\\")
_CODE = ("http://", "https://", "os.", "process.", "self.", "env.", "this.", "//")
_WORD_BREAKS = str.maketrans("_-./:@+,", "        ")
_VOWELS = frozenset("aeiouyAEIOUY")


def is_sample(value: str) -> bool:
    """Return whether a value stands for a secret instead of being one."""
    lower = value.lower()
    if len(set(value)) <= 3 or lower in _SAMPLE_VALUES:
        return True
    return len(value) <= _SAMPLE_LENGTH and any(part in lower for part in _SAMPLE_PARTS)


def not_sample(text: str, start: int, end: int) -> Spans:
    """Accept a key with a provider's prefix unless it is a sample."""
    return () if is_sample(text[start:end]) else ((start, end),)


def looks_random(text: str, start: int, end: int) -> Spans:
    """Accept a value that is neither a sample nor made of words."""
    value = text[start:end]
    return () if is_sample(value) or is_wordy(value) else ((start, end),)


def mixed_token(text: str, start: int, end: int) -> Spans:
    """Accept a random value that has digits as well as letters."""
    value = text[start:end]
    return ((start, end),) if _is_mixed(value) and not is_sample(value) and not is_wordy(value) else ()


def assigned_secret(text: str, start: int, end: int) -> Spans:
    """Accept the value of a setting with a secret's name: random enough, and no expression, path, number or sentence."""
    start, end = _trim(text, start, end)
    value = text[start:end]
    if len(value) < 10 or _is_reference(text, start, end) or is_sample(value) or is_wordy(value):
        return ()
    return ((start, end),) if _is_mixed(value) and entropy(value) >= 2.8 else ()


def assigned_password(text: str, start: int, end: int) -> Spans:
    """Accept the value of a setting named like a password: chosen by people, so shorter and closer to words."""
    start, end = _trim(text, start, end)
    value = text[start:end]
    if len(value) < 6 or _is_reference(text, start, end) or is_sample(value):
        return ()
    kinds = sum((
        any(map(str.islower, value)), any(map(str.isupper, value)), any(map(str.isdigit, value)),
        any(not character.isalnum() and character not in "_-./" for character in value),
    ))  # fmt: skip
    return (
        ((start, end),) if kinds >= 3 or (kinds == 2 and any(map(str.isdigit, value)) and not is_wordy(value)) else ()
    )


def assigned_key(text: str, start: int, end: int) -> Spans:
    """Accept the value of anything called key, if it is long and clearly random."""
    value = text[start:end]
    if is_sample(value) or is_wordy(value) or _is_reference(text, start, end):
        return ()
    digits = sum(map(str.isdigit, value))
    return ((start, end),) if digits >= 3 and len(value) - digits >= 3 and entropy(value) >= 3.2 else ()


def header_token(text: str, start: int, end: int) -> Spans:
    """Accept the credentials of an Authorization header unless they are a sample or a variable."""
    value = text[start:end]
    if is_sample(value) or _is_reference(text, start, end) or (is_wordy(value) and "=" not in value):
        return ()
    return () if value.isalpha() and len(value) < 24 else ((start, end),)  # a name in code


def url_password(text: str, start: int, end: int) -> Spans:
    """Accept the password part of a URL unless it is a sample or a variable."""
    value = text[start:end].lstrip(":")
    if not value or (value[0] in "$%{<[" and not value[1:2].isdigit()):
        return ()
    return () if is_sample(value) else ((start, end),)


def _is_mixed(value: str) -> bool:
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def is_wordy(value: str) -> bool:
    """Return whether a value reads as words, an identifier or a version: parts of letters with vowels, or of few digits."""
    parts = value.translate(_WORD_BREAKS).split()
    if not parts:
        return True
    return all(_is_word(part) for part in parts)


def _is_word(part: str) -> bool:
    if part.isdigit():
        return len(part) <= 4  # years, ports
    letters = part.rstrip("0123456789")
    if len(part) - len(letters) > 3:
        return False
    if not letters.isalpha():
        return len(part) <= 4  # k8s, i18n, 2x
    if len(letters) <= 4:
        return True
    changes = sum(1 for a, b in pairwise(letters) if a.islower() and b.isupper())
    if changes and len(letters) / (changes + 1) < 5:  # camelCase has long parts, random letters have not
        return False
    vowels = sum(character in _VOWELS for character in letters)
    return 0.2 <= vowels / len(letters) <= 0.65 and len(letters) <= 40


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while end > start and text[end - 1] in ",;)]}.\"'\\":
        end -= 1
    return start, end


def _is_reference(text: str, start: int, end: int) -> bool:
    """Return whether code follows here instead of a value: a call, an index, a variable, a path, an address."""
    value = text[start:end].lstrip(":")
    if not value or value[0] in "$%&*@.~#" or value.startswith(_CODE):
        return True
    quoted = text[start - 1 : start] in {'"', "'"}
    if not quoted and (any(character in _EXPRESSION for character in value) or text[end : end + 1] in {"(", "[", "{"}):
        return True
    names = value.split(".")
    return not quoted and (len(names) > 1 or "_" in value) and all(map(str.isidentifier, names)) and is_wordy(names[-1])


def entropy(value: str | bytes) -> float:
    """Return the Shannon entropy of a value in bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())
