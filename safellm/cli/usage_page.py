"""The page of `safellm usage --html`: one file that needs nothing else. It has no script and loads nothing."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from safellm._version import __version__
from safellm.audit.page import Report, axis_dollars, dollars
from safellm.audit.plots import COLOURS, make_axis, short_number, stacked
from safellm.cli.usage_sums import TIMES, Row, Sums, group
from safellm.errors import ConfigurationError
from safellm.sinks import html

_NAMED: Final = COLOURS - 1  # names with a colour of their own; the rest is one
_REST: Final = "others"
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(path: Path, rows: Sequence[Row], names: Sequence[str], *, now_s: int) -> Path:
    """Write the page and return its path.

    Raises:
        ConfigurationError: it can't be written.
    """
    style = (files("safellm.audit") / "page.css").read_text("utf-8")
    found = group(rows, names)
    total = Sums()
    for _, sums in found:
        total.add(sums)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html(_POLICY)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>LLM usage</title>\n<style>{style}</style></head>\n<body><main><header><h1>LLM usage</h1>"
        f'<p class="quiet">made {html(datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M"))} UTC</p></header>'
        f"{_tiles(total)}{_plots(rows, names)}{_table(names, found)}"
        f"<footer>safellm {html(__version__)}</footer></main></body></html>\n"
    )
    try:
        return Report(page).save(path)
    except OSError as error:
        raise ConfigurationError(
            f"The page can't be written: {error.strerror}", remedy="Give another file: --html FILE.", where=str(path)
        ) from None


def _tiles(total: Sums) -> str:
    tiles = (
        ("Calls", f"{total.requests:,}", f"{total.unpriced_requests:,} without a known price"),
        ("Cost", dollars(total.micro_usd), "where prices are known"),
        ("Input", short_number(total.input_tokens), "tokens"),
        ("Output", short_number(total.output_tokens), "tokens"),
    )
    cells = (
        f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd><p>{html(note)}</p></div>" for name, value, note in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _plots(rows: Sequence[Row], names: Sequence[str]) -> str:
    if not rows:
        return "<p>Nothing was used yet.</p>"
    name = next((one for one in names if one not in TIMES), "model")
    cost = _over_time(rows, name, lambda one: one.micro_usd, axis_dollars)
    tokens = _over_time(rows, name, lambda one: one.tokens, short_number)
    cards = (
        f'<section class="card"><h2>{html(title)}</h2>{plot}</section>'
        for title, plot in ((f"Cost by {name}", cost), (f"Tokens by {name}", tokens))
    )
    return f'<div class="grid">{"".join(cards)}</div>'


def _over_time(rows: Sequence[Row], name: str, value: Callable[[Sums], int], write: Callable[[int], str]) -> str:
    daily = group(rows, ("day", name))
    seconds = [int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) for (day, _), _ in daily]
    axis = make_axis(min(seconds), max(seconds))
    largest: dict[str, int] = {}
    for (_, label), sums in daily:
        largest[label] = largest.get(label, 0) + value(sums)
    named = sorted(largest, key=lambda one: -largest[one])[:_NAMED]
    series = {one or "-": [0] * axis.count for one in named}
    if len(largest) > len(named):
        series[_REST] = [0] * axis.count
    for second, ((_, label), sums) in zip(seconds, daily, strict=True):
        series[(label or "-") if label in named else _REST][axis.place(second)] += value(sums)
    keys = "".join(f'<li><i class="c{place % COLOURS}"></i>{html(one)}</li>' for place, one in enumerate(series))
    return f'{stacked(axis, series, write=write, label=f"By {name} and day")}<ul class="key">{keys}</ul>'


def _table(names: Sequence[str], found: Sequence[tuple[tuple[str, ...], Sums]]) -> str:
    heads = "".join(f"<th>{html(name)}</th>" for name in (" · ".join(names), "calls", "input", "output", "cost"))
    lines = "".join(
        "<tr>"
        f"<th>{html(' · '.join(value or '-' for value in key))}</th>"
        f"<td>{sums.requests:,}</td><td>{sums.input_tokens:,}</td><td>{sums.output_tokens:,}</td>"
        f"<td>{html(dollars(sums.micro_usd))}</td></tr>"
        for key, sums in found
    )
    return f'<section class="card"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></section>'
