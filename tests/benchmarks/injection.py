"""What a score costs: `python tests/benchmarks/injection.py [FILE…]`, in CPU milliseconds for 4 KB.

Without files, texts of the training grammar are joined; with files, each is cut into texts of 4 KB. `new words`: nothing is known
of any word of a text; `known words`: of all. For comparison: the time of one pass over the same texts that splits them into words.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from safellm._core.injection.engine import look
from safellm._core.injection.model import shipped

SIZE = 4096
ROUNDS = 5


def texts(files: list[str]) -> list[str]:
    """Return texts of 4 KB."""
    if files:
        joined = "\n".join(Path(file).read_text("utf-8", "replace") for file in files)
    else:
        path = Path(__file__).parents[2] / "tools" / "injection_texts.toml"
        groups = tomllib.loads(path.read_text("utf-8"))
        joined = " ".join(text for name in ("carrier", "honest") for slot in groups[name].values() for text in slot)
    return [joined[at : at + SIZE] for at in range(0, len(joined) - SIZE + 1, SIZE)]


def anew(text: str) -> None:
    """Score a text by a model that never met a word."""
    shipped()._met[0] = {}, {}
    look(text)


def cost(work: Callable[[str], object], some: list[str]) -> float:
    """Return CPU milliseconds for 4 KB."""
    begun = time.process_time_ns()
    for text in some:
        work(text)
    return (time.process_time_ns() - begun) / 1e6 / len(some)


def main() -> None:
    """Measure, and print one line each."""
    some = texts(sys.argv[1:])
    look("a first text loads the model")
    print(
        f"{len(some)} texts; the first time: {cost(look, some):.2f} ms (automata are built as far as texts need them)"
    )
    print(f"new words: {statistics.median(cost(anew, some) for _ in range(ROUNDS)):.2f} ms")
    words = re.compile(r"\w+|[^\w\s]").findall
    pairs = [(cost(look, some), cost(words, some)) for _ in range(ROUNDS)]
    score, split = (statistics.median(one) for one in zip(*pairs, strict=True))
    print(f"known words: {score:.2f} ms; splitting alone: {split:.2f} ms, ratio {score / split:.1f}")


if __name__ == "__main__":
    main()
