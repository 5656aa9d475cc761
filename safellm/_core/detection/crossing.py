"""Values that are split over adjacent texts: the parts of one message, or the texts of one message list.

A provider joins the parts of a message before the model reads them, so a value cut in two is whole for the model.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from safellm._core.detection.finding import Finding, Scanner

REACH = 256  # characters on either side of a border that are read
CONTEXT = 64  # characters between a border and a value that words on the other side of it explain
LONG_REACH = 16_384  # the same behind a border that a find touches: a key block may go on for so long
_MOST = 1_000  # borders; a message in more pieces is read as a whole


def crossing_findings(
    texts: Sequence[str], scanner: Scanner | None, exact: Sequence[Callable[[str], Sequence[Finding]]] = ()
) -> list[list[Finding]]:
    """Return, for each text, the parts of values that cross a border to its neighbours, or that only a neighbour explains.

    What a text shows alone isn't returned: scan the texts themselves, too. A value's parts have its type and rule.

    Args:
        texts: Texts that are read one after the other with nothing between them.
        scanner: What finds values in one text, by reading around the borders.
        exact: The same for values of any length: they read everything.

    Returns:
        A list per text, ordered by start, in indexes of that text; findings may overlap those of the text alone.

    Raises:
        GuardFailure: The engine or a check broke.
    """
    found: list[set[Finding]] = [set() for _ in texts]
    starts = [0, *accumulate(map(len, texts))]
    whole = "".join(texts)
    for find in exact:
        for finding in find(whole):
            if len(parts := _cut(finding, 0, starts)) > 1:
                _add(found, parts)
    if scanner is None:
        return [sorted(parts, key=_place) for parts in found]
    alone = [scanner.scan(text) if text else () for text in texts]
    for low, high in _windows(starts, len(whole), _begun(texts, starts, alone)):
        window = whole[low:high]
        findings = scanner.scan(window)
        if findings and findings[-1].end >= len(window.rstrip()) and high < len(whole):  # it goes on behind the window
            window = whole[low : high + LONG_REACH]
            findings = scanner.scan(window)
        for finding in findings:
            parts = _cut(finding, low, starts)
            is_whole = (low == 0 or finding.start > 0) and (
                low + len(window) == len(whole) or finding.end < len(window)
            )
            if len(parts) > 1 or (is_whole and _is_explained(parts[0], starts, alone)):
                _add(found, parts)
    return [sorted(parts, key=_place) for parts in found]


def _place(finding: Finding) -> tuple[int, int, str]:
    return finding.start, finding.end, finding.rule


def _add(found: Sequence[set[Finding]], parts: Iterable[tuple[int, Finding]]) -> None:
    for index, part in parts:
        found[index].add(part)


def _is_explained(part: tuple[int, Finding], starts: Sequence[int], alone: Sequence[Sequence[Finding]]) -> bool:
    """Return whether a find within one text isn't found in it alone, and is near enough to a neighbour to be explained by it."""
    index, finding = part
    near = finding.start <= CONTEXT or starts[index + 1] - starts[index] - finding.end <= CONTEXT
    return near and all(
        (one.type, one.start, one.end) != (finding.type, finding.start, finding.end) for one in alone[index]
    )


def _begun(texts: Sequence[str], starts: Sequence[int], alone: Sequence[Sequence[Finding]]) -> dict[int, int]:
    """Return the borders that a find in the text before touches, and where it begins: it may go on behind."""
    begun: dict[int, int] = {}
    for text, start, found in zip(texts[:-1], starts, alone, strict=False):
        last = found[-1:]
        if last and last[0].end >= len(text.rstrip()):
            begun[start + len(text)] = start + last[0].start
    return begun


def _windows(starts: Sequence[int], size: int, begun: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the stretches around the borders inside the text; borders close to each other share one."""
    borders = [border for border in dict.fromkeys(starts[1:-1]) if 0 < border < size]
    if len(borders) > _MOST:
        yield 0, size
        return
    low = high = -1
    for border in borders:
        first, last = border - REACH, border + REACH
        if border in begun:
            first, last = min(first, begun[border]), border + LONG_REACH
        if low >= 0 and first <= high:
            high = max(high, last)
            continue
        if low >= 0:
            yield low, min(high, size)
        low, high = max(0, first), last
    if low >= 0:
        yield low, min(high, size)


def _cut(finding: Finding, low: int, starts: Sequence[int]) -> list[tuple[int, Finding]]:
    """Return the parts of a finding in each text."""
    begin, end = low + finding.start, low + finding.end
    first, last = bisect_right(starts, begin) - 1, bisect_right(starts, end - 1) - 1
    return [
        (
            index,
            Finding(
                type=finding.type,
                rule=finding.rule,
                start=max(begin, starts[index]) - starts[index],
                end=min(end, starts[index + 1]) - starts[index],
                confidence=finding.confidence,
            ),
        )
        for index in range(first, last + 1)
        if starts[index] < starts[index + 1]
    ]
