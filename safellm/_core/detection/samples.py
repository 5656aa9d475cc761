"""Tells a secret from what stands for one: placeholders, documentation samples, variables."""

# ruff: noqa: PLR2004 - thresholds are explained by the sentence of their function
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

from safellm._core.detection.randomness import is_random

# How people write "put yours here". Whoever writes these means no real value, whatever else stands there.
_EMPHATIC = (
    "example", "placeholder", "changeme", "change_me", "change-me", "redacted", "yourapi", "yourkey", "yoursecret", "yourtoken",
    "yourpass", "1234567890", "0123456789", "abcdefghij", "....", "****", "____", "{{", "${", "$(", "…", "not_set", "not-set",
    # A key of a local storage emulator, and tokens of RFC 6749.
    "eby8vdm02xnocqfl", "2yotnfzfejr1zcsicmwpaa", "tgzv3jokf0xg5qx2tlkwia",
    "xxxxxxxx", "00000000000", "my_secret", "my-secret", "mysecret", "deadbeefdeadbeef", "your_", "your-",
)  # fmt: skip
# Short enough to stand in a random value by chance: they count only if what is left isn't random.
_USUAL = (
    "xxxx", "sample", "replace", "insert", "_here", "-here", "dummy", "lorem", "foobar", "fixme", "fakekey", "notreal", "testtest",
)  # fmt: skip
_SAMPLE_VALUES = frozenset(
    "password passwd pass pwd secret token apikey api_key key user username admin root test testing string none null true false "
    "undefined default required optional changeit unknown value hidden masked disabled enabled bearer basic n/a todo "
    "foo bar baz tiger repo".split()
)
_SAMPLE_LENGTH = 200  # characters; a longer random text could hold a part by chance
_WORD_MARKS = str.maketrans(dict.fromkeys("_-. ", None))
_REST = 20  # characters that make a key even beside a word such as `dummy`


def is_sample(value: str) -> bool:
    """Return whether a value stands for a secret instead of being one."""
    lower = value.lower()
    if len(set(value)) <= 3 or lower in _SAMPLE_VALUES:
        return True
    if len(value) > _SAMPLE_LENGTH:
        return False
    for part in _EMPHATIC:  # many values come by: `any` would take twice as long
        if part in lower:
            return True
    if _is_bracketed(lower) or _has_sequence(lower) or _has_period(lower):
        return True
    found = [part for part in _USUAL if part in lower]
    return bool(found) and not _is_random_without(value, lower, found)


def _is_bracketed(lower: str) -> bool:
    """Return whether words in angle brackets stand in a value: `<your key>`."""
    start = lower.find("<")
    stop = lower.find(">", start)
    inside = lower[start + 1 : stop if stop > start else None].translate(_WORD_MARKS)
    return start >= 0 and (start == 0 or (stop > start + 3 and inside.isalpha()))


def _has_sequence(lower: str) -> bool:
    """Return whether eight characters follow each other as in the alphabet; by chance one key in a thousand million has them."""
    if not any(ord(second) - ord(first) == 1 for first, second in zip(lower[::4], lower[1::4], strict=False)):
        return False  # eight in a row hold a place that is a multiple of four, and the one behind it
    run = 1
    for first, second in pairwise(lower):
        run = run + 1 if ord(second) - ord(first) == 1 else 1
        if run >= 8:
            return True
    return False


def _has_period(lower: str) -> bool:
    """Return whether two or three digits in turn, twelve at least, are half of a value or more: `123123123123`."""
    if sum(map(str.isdigit, lower)) < 12:
        return False
    for step in (2, 3):
        run = 0
        for at in range(step, len(lower)):
            run = run + 1 if lower[at] == lower[at - step] != lower[at - 1] and lower[at].isdigit() else 0
            if run + step >= 12 and (run + step) * 2 >= len(lower):
                return True
    return False


def _is_random_without(value: str, lower: str, parts: list[str]) -> bool:
    if len(lower) != len(value):
        return False
    for part in parts:
        at = lower.find(part)
        while at >= 0:
            value, lower = value[:at] + value[at + len(part) :], lower[:at] + lower[at + len(part) :]
            at = lower.find(part)
    return len(value) >= _REST and is_random(value)
