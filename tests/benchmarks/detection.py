"""What a scan costs: `python tests/benchmarks/detection.py [folder of texts]`.

Texts of 4 KB: documentation strings and code of Python's standard library, JSON, and a few signs beyond ASCII; or pieces of the
files in a folder. CPU time of this thread. `hot` is the best of several scans of the same text, as contenders are compared
usually; `in turn` is the best of several rounds over all texts, so that caches of the processor hold others in between; `once` is
the first scan of each text after a hundred others. With presidio-analyzer and its model installed, it runs over the same texts.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from safellm._core.detection.scanner import compile_scanner

SIZE = 4_096
HOSTILE = (
    "1234 ", "4234 ", "4111 1111 1111 1111 ", "a@a.aa ", "bob@mail.test ", "1.2.3.4 ", "12.", "key=", "password=ab1!cd ", "eyJ",
    "api_key=" + "Zk3fQ9vLr0Tm ", "Zk3fQ9vLr0Tm" + "2XcWb8NyUa ", "key: " + "a1b2c3d4e5f6" * 2 + " ", "authorization: ",
    "-----BEGIN " + "PRIVATE KEY-----", "\u200b", "é ", "%20", "0", "0 0 ", "1 2 3 4 ", "1 2 - 3 4 ", "12-34 56-78 ", "1-2 3-4 ",
    "12/34/5678 ", "+1 555 123 4567 ", "555-123-4567 ", "AB123" + "456C ", "passport 123" + "456789 ",
)  # fmt: skip
# Columns of numbers, drawn by lot: of so many to so many digits, how many stand in a line, and what is between them.
TABLES = (
    (8, 12, 6, "\t"),
    (8, 12, 6, ","),
    (8, 12, 1, ""),
    (11, 11, 5, " "),
    (13, 19, 4, " "),
    (1, 1, 1_000, " "),
    (2, 4, 200, "-"),
)
_START = """
import time
begin = time.process_time()
from pathlib import Path
from safellm.stores.detection_cache import cached_scanner
scanner = cached_scanner(Path({folder!r}))
scanner.scan("Write to ann.lee@mail.test or call +44 20 7946 0958.")
print((time.process_time() - begin) * 1e3)
"""


def texts(folder: Path | None) -> list[str]:
    """Return texts of 4 KB, always the same for the same files."""
    generator = random.Random(1)
    root = folder or Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in root.rglob("*") if path.is_file() and (folder or path.suffix == ".py"))
    generator.shuffle(files)
    found: list[str] = []
    for path in files[:400]:
        text = path.read_text(encoding="utf-8", errors="ignore")
        if folder is None:
            rows = json.dumps([{"name": path.stem, "lines": text.count("\n"), "tags": text.split()[:20]}], indent=1)
            signs = "".join(generator.choices("—“”é…→日本語的文字，。", k=generator.choice((0, 0, 60))))
            text = f"{text[: SIZE - 900]}\n{rows}\n{signs}\n"
        found += [text[at : at + SIZE] for at in range(0, max(1, len(text) - SIZE), SIZE)][:4]
    return [text for text in found if len(text) > SIZE // 2]


def hostile(size: int = 100_000) -> Iterator[tuple[str, str]]:
    """Yield texts that cost as much as can be, with names."""
    for unit in HOSTILE:
        yield repr(unit), (unit * (size // len(unit) + 1))[:size]
    generator = random.Random(7)
    for least, most, columns, mark in TABLES:
        rows = [
            mark.join(
                "".join(generator.choices("0123456789", k=generator.randint(least, most))) for _ in range(columns)
            )
            for _ in range(size // (columns * (least + len(mark))) + 1)
        ]
        yield f"{columns} columns of {least} to {most} digits, {mark!r} between", "\n".join(rows)[:size]


def spent(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in microseconds."""
    begin = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - begin) / 1e3


def shares(times: Sequence[float]) -> str:
    """Return the usual figures of some times."""
    ordered = sorted(times)
    return (
        f"median {statistics.median(ordered):8.1f}   mean {statistics.mean(ordered):8.1f}   "
        f"p99 {ordered[int(len(ordered) * 0.99)]:8.1f} us   ({len(ordered)} texts)"
    )


def repeated(scan: Callable[[str], object], some: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
    """Yield the times of the texts, hot and in turn."""
    yield "hot", [min(spent(lambda text=text: scan(text)) for _ in range(7)) for text in some]  # type: ignore[misc]
    rounds = [[spent(lambda text=text: scan(text)) for text in some] for _ in range(7)]  # type: ignore[misc]
    yield "in turn", list(map(min, zip(*rounds, strict=True)))


def presidio(some: Sequence[str]) -> str:
    """Return what presidio takes for some texts."""
    try:
        from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found]

        engine = AnalyzerEngine()
    except (ImportError, OSError, SystemExit) as missing:
        return f"not installed ({type(missing).__name__})"
    engine.analyze(text=some[0], language="en")
    return shares([spent(lambda text=text: engine.analyze(text=text, language="en")) for text in some])  # type: ignore[misc]


def main() -> None:
    """Print the table."""
    scan = compile_scanner().scan
    every = texts(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for text in every[:100]:
        scan(text)
    print(f"{'4 KB, once':<28}", shares([spent(lambda text=text: scan(text)) for text in every[100:]]))  # type: ignore[misc]
    found = {text: len(scan(text)) for text in every}
    groups = {
        "4 KB, clean, ASCII": [text for text, count in found.items() if not count and text.isascii()],
        "4 KB, clean, mixed": [text for text, count in found.items() if not count and not text.isascii()],
        "4 KB, few finds": [text for text, count in found.items() if 0 < count < 4],
    }
    for name, some in groups.items():
        for how, times in repeated(scan, some) if some else ():
            print(f"{name + ', ' + how:<28}", shares(times))
    for name in list(groups)[:2]:
        large = ("\n".join(groups[name]) * 20)[:1_000_000]
        if large:
            print(f"{'1 MB' + name[4:]:<28} {len(large) / min(spent(lambda: scan(large)) for _ in range(5)):8.1f} MB/s")  # noqa: B023
    worst = sorted((min(spent(lambda: scan(text)) for _ in range(3)), name) for name, text in hostile())[-3:]  # noqa: B023
    for taken, name in reversed(worst):
        print(f"{'100 KB, hostile, worst':<28} {taken / 1e3:8.1f} ms  {name}")
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-c", _START.format(folder=folder)]
        starts = [float(subprocess.run(program, check=True, capture_output=True, text=True).stdout) for _ in range(6)]
    print(f"{'first use':<28} {starts[0]:8.1f} ms, with the cache {min(starts[1:]):.1f} ms of CPU")
    print(f"{'presidio, 4 KB':<28}", presidio(groups["4 KB, clean, ASCII"][:12]))


if __name__ == "__main__":
    main()
