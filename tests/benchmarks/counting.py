"""What counting costs: `python tests/benchmarks/counting.py`. Microseconds, best of five; a plain SDK call takes 2,000 to 3,000.

The lines before "near a limit" are what every call under a limit pays; the others only one whose bound doesn't fit.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable

from safellm._core.measure import measure
from safellm._core.media import extra_tokens
from safellm._core.meter import Meter
from safellm._core.tokens import encoding_of, normalized_excess
from safellm.stores.encodings import Encodings, shared

_TEXT = ("The quick brown fox jumps over the lazy dog while it rains in the valley. " * 60)[:4096]
_MODEL = "gpt-4o"
_NUMBERS = itertools.count()


def main() -> None:
    """Print one line for each part."""
    chat = {"model": _MODEL, "messages": [{"role": "user", "content": _TEXT}]}
    history = {"model": _MODEL, "messages": [{"role": "user", "content": "hello"}] * 100}
    row("what is no text, 4 KB chat", lambda: extra_tokens(chat, _MODEL))
    row("what is no text, 100 messages", lambda: extra_tokens(history, _MODEL))
    row("which encoding", lambda: encoding_of(_MODEL))
    row("normal form, 4 KB ASCII", lambda: normalized_excess((_TEXT,)))
    row("normal form, 4 KB with accents", lambda: normalized_excess((_TEXT[:-2] + "é",)), 1000)
    row("loading a vocabulary (near a limit)", lambda: Encodings().count("o200k_base", ("hello",)), 1)
    counter = shared()
    row("4 KB counted for the first time (near a limit)", lambda: count(f"{_TEXT}{next(_NUMBERS)}"), 200)
    row("4 KB counted again (near a limit)", lambda: count(_TEXT), 1000)
    far = Meter(limit=10**9, encoding="o200k_base", counter=counter)
    row("one delta of a stream under a limit", lambda: far.add(("c",), " word"))
    row("1,900 deltas of 2,000 tokens", lambda: fill(2000, 1900), 5)


def count(text: str) -> None:
    """Count one chat."""
    measured = measure({"model": _MODEL, "messages": [{"role": "user", "content": text}]}, _MODEL)
    assert measured is not None
    shared().count("o200k_base", measured.texts)


def fill(limit: int, deltas: int) -> None:
    """Meter a stream."""
    meter = Meter(limit=limit, encoding="o200k_base", counter=shared())
    for _ in range(deltas):
        meter.add(("c",), " word")


def row(label: str, measured: Callable[[], object], number: int = 20_000) -> None:
    """Print one line."""
    print(f"{label:50} {min(timeit.repeat(measured, number=number, repeat=5)) / number * 1e6:12,.2f}")


if __name__ == "__main__":
    main()
