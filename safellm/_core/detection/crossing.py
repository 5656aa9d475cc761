"""Values that are split over adjacent texts: the parts of one message, or the texts of one message list.

A provider joins the parts of a message before the model reads them, so a value cut in two is whole for the model.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from safellm._core.detection.finding import Finding, Scanner

REACH = 256  # characters on either side of a border that are read; a longer value has a rule for its beginning
_MOST = 1_000  # borders; a message in more pieces is read as a whole


def crossing_findings(texts: Sequence[str], scanner: Scanner) -> list[list[Finding]]:
    """Return, for each text, the parts of values that cross a border to its neighbours.

    What lies within one text alone isn't returned: scan the texts themselves, too. A value's parts have its type and rule.

    Args:
        texts: Texts that are read one after the other with nothing between them.
        scanner: What finds values in one text.

    Returns:
        A list per text, ordered by start, in indexes of that text; findings may overlap those of the text alone.

    Raises:
        GuardFailure: The engine or a check broke.
    """
    found: list[set[Finding]] = [set() for _ in texts]
    starts = [0, *accumulate(map(len, texts))]
    whole = "".join(texts)
    for low, high in _windows(starts, len(whole)):
        for finding in scanner.scan(whole[low:high]):
            for index, part in _cut(finding, low, starts):
                found[index].add(part)
    return [sorted(parts, key=lambda part: (part.start, part.end, part.rule)) for parts in found]


def _windows(starts: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches around the borders inside the text; borders close to each other share one."""
    borders = [border for border in dict.fromkeys(starts[1:-1]) if 0 < border < size]
    if len(borders) > _MOST:
        yield 0, size
        return
    low = high = -1
    for border in borders:
        if low >= 0 and border - REACH <= high:
            high = border + REACH
            continue
        if low >= 0:
            yield low, min(high, size)
        low, high = max(0, border - REACH), border + REACH
    if low >= 0:
        yield low, min(high, size)


def _cut(finding: Finding, low: int, starts: Sequence[int]) -> list[tuple[int, Finding]]:
    """Return the parts of a finding in each text, or nothing if it lies within one."""
    begin, end = low + finding.start, low + finding.end
    first, last = bisect_right(starts, begin) - 1, bisect_right(starts, end - 1) - 1
    if first == last:
        return []
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
