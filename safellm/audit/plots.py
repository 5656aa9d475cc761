"""Plots as inline SVG: numbers in, markup out. No script, no font, no resource from elsewhere.

Colours come from the page's style sheet (classes `c0` to `c7`), so that a plot is readable in light and in dark. Every mark has a
`<title>`, which browsers show as a tooltip and screen readers read.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from safellm.sinks import html

COLOURS: Final = 8
_WIDTH, _HEIGHT = 480, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 6, 10, 24
_MOST_BARS: Final = 62
_STEPS_S: Final = (3600, 2 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 30 * 86_400)
_MONDAY: Final = 4 * 86_400  # 1970-01-01 was a Thursday
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Time in equal steps: starts in seconds since 1970."""

    start: int
    step: int
    count: int

    def place(self, seconds: int) -> int:
        """Return the number of the step that a time is in."""
        return min(self.count - 1, max(0, (seconds - self.start) // self.step))

    def label(self, index: int) -> str:
        """Return the start of a step as text, UTC."""
        moment = datetime.fromtimestamp(self.start + index * self.step, UTC)
        return moment.strftime("%Y-%m-%d" if self.step >= _DAY else "%Y-%m-%d %H:%M")

    def short(self, index: int) -> str:
        """The same for an axis."""
        moment = datetime.fromtimestamp(self.start + index * self.step, UTC)
        if self.step * self.count <= 2 * _DAY:
            return moment.strftime("%H:%M")
        return f"{moment.day} {moment.strftime('%b')}"


def make_axis(first_s: int, last_s: int) -> Axis:
    """Return steps that cover both times, as fine as fits."""
    span = last_s - first_s
    step = next((one for one in _STEPS_S if span / one < _MOST_BARS - 1), 0) or -(-span // _MOST_BARS // _DAY) * _DAY
    offset = _MONDAY if step == _STEPS_S[5] else 0
    start = (first_s - offset) // step * step + offset
    return Axis(start=start, step=step, count=(last_s - start) // step + 1)


def stacked(axis: Axis, series: Mapping[str, Sequence[int]], *, write: Callable[[int], str], label: str) -> str:
    """Return bars over time, one part for each name, in order from below.

    Args:
        axis: The time.
        series: A value for each step, by name.
        write: How a value is written.
        label: What the plot shows, for those who can't see it.
    """
    top = nice(max((sum(parts) for parts in zip(*series.values(), strict=True)), default=0))
    slot = (_WIDTH - _LEFT - _RIGHT) / axis.count
    width = max(1.0, min(slot * 0.82, 26.0))
    marks = []
    for index in range(axis.count):
        x, base = _LEFT + slot * index + (slot - width) / 2, 0
        for colour, (name, values) in enumerate(series.items()):
            value = values[index]
            if value:
                high = _y(base, top) - _y(base + value, top)
                tip = html(f"{axis.label(index)}  {name}: {write(value)}")
                marks.append(
                    f'<rect class="c{colour % COLOURS}" x="{x:.1f}" y="{_y(base + value, top):.1f}" '
                    f'width="{width:.1f}" height="{max(high, 0.5):.1f}"><title>{tip}</title></rect>'
                )
            base += value
    ticks = sorted({round(position * (axis.count - 1) / 4) for position in range(5)})
    below = [(_LEFT + slot * (index + 0.5), axis.short(index)) for index in ticks]
    return _frame(marks, below, top, write=write, label=label)


def columns(values: Sequence[tuple[str, int]], marks_at: Mapping[int, str], *, label: str) -> str:
    """Return a histogram; `marks_at` names places between columns."""
    top = nice(max((count for _, count in values), default=0))
    slot = (_WIDTH - _LEFT - _RIGHT) / max(1, len(values))
    marks = [
        f'<rect class="c0" x="{_LEFT + slot * index + 0.5:.1f}" y="{_y(count, top):.1f}" width="{max(1.0, slot - 1):.1f}" '
        f'height="{_y(0, top) - _y(count, top):.1f}"><title>{html(f"up to {name}: {count:,}")}</title></rect>'
        for index, (name, count) in enumerate(values)
        if count
    ]
    level = _TOP + 9
    for index, name in marks_at.items():
        x = _LEFT + slot * (index + 1)
        marks.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        end = x > _WIDTH * 0.85
        anchor = ' text-anchor="end"' if end else ""
        marks.append(f'<text class="name" x="{x + (-4 if end else 4):.1f}" y="{level}"{anchor}>{html(name)}</text>')
        level += 14
    every = max(1, -(-len(values) // 6))
    below = [(_LEFT + slot * (index + 0.5), name) for index, (name, _) in enumerate(values) if index % every == 0]
    return _frame(marks, below, top, write=short_number, label=label)


def nice(value: int) -> int:
    """Return a round number that isn't smaller: 1, 2, 4 or 5 and zeros."""
    size = 1
    while True:
        for digit in (1, 2, 4, 5):
            if digit * size >= value:
                return digit * size
        size *= 10


def short_number(value: int) -> str:
    """Return a number in few characters: 950, 12k, 3.4M."""
    for size, name in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{name}" if value < 1000 * size else f"{value // size}{name}"
    return str(value)


def _frame(
    marks: list[str], below: list[tuple[float, str]], top: int, *, write: Callable[[int], str], label: str
) -> str:
    lines = []
    for part in range(3):
        value = top * part // 2
        y = _y(value, top)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if top > 1 or part != 1:
            lines.append(
                f'<text class="axis" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{html(write(value))}</text>'
            )
    names = []
    for x, text in below:
        anchor = "end" if x > _WIDTH - 40 else "middle"
        at = min(x, _WIDTH - 2) if anchor == "end" else x
        names.append(f'<text class="axis" x="{at:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{html(text)}</text>')
    inside = "".join([*lines, *marks, *names])
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html(label)}">{inside}</svg>'


def _y(value: float, top: int) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / max(top, 1)
