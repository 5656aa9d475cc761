"""A real Chromium: what passed neutralising or a sink fetches nothing and runs nothing, however it is rendered (O.1, O.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator

import browser
import mistune
import pytest
from markdown_it import MarkdownIt
from markup_cases import BENIGN, attacks
from mistune.directives import Admonition, FencedDirective, Figure, Image, RSTDirective

import safellm
from safellm import sinks

TEXTS = list(attacks())
pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt-get install chromium")


def commonmark(text: str) -> str:
    """Render as chat programs do, with all that a renderer may be told to let through."""
    renderer = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    renderer.validateLink = lambda _: True  # type: ignore[method-assign]
    return str(renderer.render(text))


def notebook(text: str) -> str:
    """Render as the conversion of notebooks does."""
    return str(mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "footnotes", "url"])(text))


def converted(text: str) -> str:
    """Render as `nbconvert` does, which knows mathematics and diagrams."""
    filters = pytest.importorskip("nbconvert.filters.markdown_mistune")
    return str(filters.markdown2html_mistune(text))


def directives(text: str) -> str:
    """Render as books made of notebooks do."""
    known = [Image(), Figure(), Admonition()]
    fenced = FencedDirective(known, markers="`~:")
    return "".join(
        str(mistune.create_markdown(escape=False, plugins=["table", one])(text))
        for one in (fenced, RSTDirective(known))
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    """One browser for all pages."""
    with browser.chromium() as running:
        yield running


def test_o_2_untreated_replies_do_harm(chromium: browser.Browser) -> None:
    """The oracle sees: untreated, most cases fetch, run or wait for a click."""
    seen = chromium.show([commonmark(text) for text in TEXTS])
    counts = browser.totals(seen)
    assert counts["requests"] > 60
    assert counts["scripts"] > 15
    assert counts["bad_links"] > 10
    assert chromium.counter.hits > 0


WAYS: dict[str, Callable[[str], str]] = {
    "neutralised": lambda text: commonmark(safellm.neutralise(text)),
    "neutralised, in a notebook": lambda text: notebook(safellm.neutralise(text)),
    "neutralised, in a converted notebook": lambda text: converted(safellm.neutralise(text)),
    "neutralised, with directives": lambda text: directives(safellm.neutralise(text)),
    "markdown sink": lambda text: commonmark(sinks.markdown(text)),
    "markdown sink, in a notebook": lambda text: notebook(sinks.markdown(text)),
    "html sink": lambda text: f"<p title='{sinks.html(text)}'>{sinks.html(text)}</p>",
}


@pytest.mark.parametrize("way", WAYS)
def test_o_1_o_2_treated_replies_do_nothing(chromium: browser.Browser, way: str) -> None:
    """No request, no connection, no script, no link or handler that would run one."""
    before = chromium.counter.hits
    texts = [*TEXTS, *(text for text in BENIGN if "shields" not in text)]
    seen = chromium.show([WAYS[way](text) for text in texts])
    assert [(text, one) for text, one in zip(texts, seen, strict=True) if one.anything] == []
    assert chromium.counter.hits == before
