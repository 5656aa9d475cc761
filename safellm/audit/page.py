"""The report: one HTML file that needs nothing else, in a browser, in a mail, in a notebook.

It has no script and loads nothing: its own content policy forbids both. Every text from a record is escaped (THREATS L.6, O.1).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from safellm._version import __version__
from safellm.audit import plots
from safellm.audit.plots import Axis, make_axis, short_number, stacked
from safellm.audit.summary import HOUR_S, Spent, Summary, class_ms
from safellm.audit.walk import Integrity, sum_up
from safellm.sinks import html
from safellm.stores import durable
from safellm.stores.journal.open import audit_folder
from safellm.stores.places import find_places
from safellm.stores.settings import load_policy

_NAMED: Final = plots.COLOURS - 1  # series with a colour of their own; the rest is one
_REST: Final = "others"
_LISTED: Final = 12
_FRAME_PX: Final = 900
_DOLLAR, _CENT = 1_000_000, 10_000  # in millionths
_SECOND, _MINUTE = 1000, 60_000  # in milliseconds


@dataclass(frozen=True, slots=True)
class Report:
    """A report; a notebook shows it by itself.

    Attributes:
        page: The whole HTML file.
    """

    page: str

    def save(self, path: str | Path) -> Path:
        """Write the page to a file that only this user reads; returns the path.

        Raises:
            OSError: it can't be written.
        """
        target = Path(path).absolute()
        descriptor = durable.open_private(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            durable.write_all(descriptor, self.page.encode())
        finally:
            os.close(descriptor)
        return target

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles stay inside, and nothing in it could run.
        return f'<iframe sandbox srcdoc="{html(self.page)}" style="width:100%;height:{_FRAME_PX}px;border:0"></iframe>'

    def __repr__(self) -> str:
        return f"<safellm audit report, {len(self.page):,} characters; .save(path) writes it, a notebook shows it>"


def report_page(directory: str | Path | None = None) -> Report:
    """Return the report of the audit trail as one HTML page; as the last line of a notebook cell it is shown.

    Args:
        directory: Folder of a trail; by default the one that the policy in force names.

    Raises:
        ConfigurationError: there is no trail, or it can't be read.
    """
    environ = dict(os.environ)
    state = find_places(environ).state
    chosen = directory or audit_folder(load_policy(environ=environ).policy, state)
    found, integrity = sum_up(Path(chosen), state)
    return render(found, integrity, title=str(chosen), now_s=int(time.time()))


def render(found: Summary, integrity: Integrity | None, *, title: str, now_s: int) -> Report:
    """Return the page of a summary.

    Args:
        found: The sums.
        integrity: What is known of the trail's wholeness; None where it isn't asked.
        title: Which trail.
        now_s: Seconds since 1970.
    """
    style = (files("safellm.audit") / "page.css").read_text("utf-8")
    first = now_s if found.first_s is None else found.first_s
    axis = make_axis(first, max(first, found.last_s))
    body = [_header(found, title, now_s, first), "" if integrity is None else _verdict(integrity), _tiles(found)]
    if found.records:
        body += [_over_time(found, axis), _tables(found)]
    else:
        body.append("<p>There are no records yet.</p>")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html(policy)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{html('Audit report')}</title>\n<style>{style}</style></head>\n<body><main>{''.join(body)}"
        f"<footer>safellm {html(__version__)}. Counts come from the audit trail; it holds no prompt and no answer.</footer>"
        "</main></body></html>\n"
    )
    return Report(page)


def dollars(micro_usd: int) -> str:
    """Return millionths of a dollar as dollars, in few characters."""
    if micro_usd >= 100 * _DOLLAR:
        return f"${micro_usd // _DOLLAR:,}"
    return f"${micro_usd / _DOLLAR:,.2f}" if micro_usd >= _CENT or not micro_usd else _small(micro_usd)


def axis_dollars(micro_usd: int) -> str:
    """Return millionths of a dollar as the label of an axis."""
    if micro_usd >= 10 * _DOLLAR:
        return f"${short_number(micro_usd // _DOLLAR)}"
    return f"${micro_usd / _DOLLAR:.2g}" if micro_usd >= _CENT or not micro_usd else _small(micro_usd)


def _small(micro_usd: int) -> str:
    return f"${micro_usd / _DOLLAR:.6f}".rstrip("0")


def _header(found: Summary, title: str, now_s: int, first: int) -> str:
    span = f"{_day(first)} to {_day(found.last_s)}" if found.records else "no records"
    return (
        f"<header><h1>LLM calls</h1><p>{html(span)} <span>UTC</span></p>"
        f'<p class="quiet">{html(title)} · made {html(_day(now_s))}</p></header>'
    )


def _verdict(one: Integrity) -> str:
    name, word = ("good", "The trail is whole") if one.ok else ("bad", "The trail is BROKEN")
    return (
        f'<section class="verdict {name}"><h2>{word}</h2><p>{html(one.chain)}</p><p>{html(one.signed)}</p>'
        f'<p class="quiet">head <code>{html(one.head)}</code></p></section>'
    )


def _tiles(found: Summary) -> str:
    total = found.total()
    middle, slow = found.latency_ms(0.5), found.latency_ms(0.95)
    share = f"{100 * found.refused / max(1, total.calls + found.refused):.1f}% of all"
    tiles = (
        ("Calls", f"{total.calls:,}", _several(len(found.by_name(found.models)), "model")),
        ("Cost", dollars(total.micro_usd), "where prices are known"),
        (
            "Tokens",
            short_number(total.tokens),
            f"{short_number(found.input_tokens)} in, {short_number(found.output_tokens)} out",
        ),
        ("Refused", f"{found.refused:,}", share),
        ("Values hidden", f"{sum(found.findings.values()):,}", _several(len(found.findings), "kind")),
        ("Latency", _ms(middle), f"95% within {_ms(slow)}"),
        ("Failed", f"{sum(found.errors.values()):,}", "errors and early ends"),
        ("Without outcome", f"{len(found.intents):,}", "under way, or the program died"),
    )
    cells = (
        f"<div><dt>{html(name)}</dt><dd>{html(value)}</dd><p>{html(note)}</p></div>" for name, value, note in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _over_time(found: Summary, axis: Axis) -> str:
    models = _order(found.by_name(found.models), lambda one: one.calls)
    payers = _order(found.by_name(found.users), lambda one: one.micro_usd)
    refused = [0] * axis.count
    for hour, count in found.refusals.items():
        refused[axis.place(hour * HOUR_S)] += count
    plain = {"refused": refused}
    return "".join(
        [
            '<div class="grid">',
            _timed("Calls by model", found.models, models, axis, lambda one: one.calls, short_number),
            _timed("Cost by user", found.users, payers, axis, lambda one: one.micro_usd, axis_dollars),
            _timed("Tokens by model", found.models, models, axis, lambda one: one.tokens, short_number),
            _timed("Calls by user", found.users, payers, axis, lambda one: one.calls, short_number),
            _card("Refusals", stacked(axis, plain, write=short_number, label="Refused calls over time")),
            _card("Latency", _latency(found)),
            "</div>",
        ]
    )


def _tables(found: Summary) -> str:
    models, users = found.by_name(found.models), found.by_name(found.users)
    return "".join(
        [
            '<div class="tables">',
            _card("Alerts", _bars(found.alerts)) if found.alerts else "",
            _card("Top spenders", _spenders(users)),
            _card("Models", _spenders(models)),
            _card("Findings by kind", _bars(found.findings)),
            _card("Refusals by reason", _bars(found.reasons)),
            _card("Done to answers", _bars(found.actions)),
            _card("Errors", _bars(found.errors)),
            "</div>",
        ]
    )


def _timed(  # noqa: PLR0913 - what a plot is made of
    title: str,
    table: Mapping[tuple[int, str], Spent],
    names: list[str],
    axis: Axis,
    value: Callable[[Spent], int],
    write: Callable[[int], str],
) -> str:
    known = set(names)
    shown = [*names, _REST] if any(name not in known for _, name in table) else names
    series = {name: [0] * axis.count for name in shown}
    for (hour, name), spent in table.items():
        series[name if name in known else _REST][axis.place(hour * HOUR_S)] += value(spent)
    keys = "".join(f'<li><i class="c{index}"></i>{html(name)}</li>' for index, name in enumerate(shown))
    return _card(title, stacked(axis, series, write=write, label=f"{title} over time") + f'<ul class="key">{keys}</ul>')


def _latency(found: Summary) -> str:
    if not found.latency:
        return '<p class="quiet">No call has an outcome yet.</p>'
    low, high = min(found.latency), max(found.latency)
    values = [(_ms(class_ms(step)), found.latency.get(step, 0)) for step in range(low, high + 1)]
    marks: dict[int, str] = {}
    for share in (0.5, 0.95, 0.99):
        ms = found.latency_ms(share)
        index = next(index for index, step in enumerate(range(low, high + 1)) if class_ms(step) == ms)
        marks[index] = f"{int(share * 100)}% {_ms(ms)}"
    return plots.columns(values, marks, label="How long calls took")


def _spenders(table: Mapping[str, Spent]) -> str:
    names = sorted(table, key=lambda name: (-table[name].micro_usd, -table[name].calls, name))
    most = max((one.micro_usd for one in table.values()), default=0)
    rows = "".join(
        f'<tr><th scope="row">{html(name)}{_bar(table[name].micro_usd, most)}</th><td>{dollars(table[name].micro_usd)}</td>'
        f"<td>{table[name].calls:,}</td><td>{short_number(table[name].tokens)}</td></tr>"
        for name in names[:_LISTED]
    )
    more = f'<p class="quiet">and {len(names) - _LISTED} more</p>' if len(names) > _LISTED else ""
    head = "<thead><tr><th></th><th>cost</th><th>calls</th><th>tokens</th></tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>{more}"


def _bars(counts: Counter[str]) -> str:
    if not counts:
        return '<p class="quiet">None.</p>'
    most = max(counts.values())
    rows = "".join(
        f'<tr><th scope="row">{html(name.replace("_", " ") if name.islower() else name)}{_bar(count, most)}</th>'
        f"<td>{count:,}</td></tr>"
        for name, count in counts.most_common(_LISTED)
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _bar(value: int, most: int) -> str:
    return f'<i style="width:{100 * value / most if most else 0:.1f}%"></i>'


def _card(title: str, inside: str) -> str:
    return f'<section class="card"><h2>{html(title)}</h2>{inside}</section>'


def _order(table: Mapping[str, Spent], value: Callable[[Spent], int]) -> list[str]:
    """Return the largest names, largest first; one more gets its own colour if it is the only one left."""
    names = sorted(table, key=lambda name: (-value(table[name]), name))
    return names if len(names) <= plots.COLOURS else names[:_NAMED]


def _ms(value: int | None) -> str:
    if value is None:
        return "-"
    if value < _SECOND:
        return f"{value} ms"
    return f"{value / _SECOND:.1f} s" if value < 2 * _MINUTE else f"{value // _MINUTE} min"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
