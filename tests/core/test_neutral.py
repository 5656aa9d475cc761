"""Replies are made inert in any chunking; ordinary text and code pass byte for byte (THREATS O.1, O.2)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from typing import Any

import pytest
from awkward_texts import cuts
from exchanges import World, answer, chat
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markup_cases import AROUND, BENIGN, HTML, MARKDOWN, U, attacks

import safellm
from safellm import sinks
from safellm._core.neutral.addresses import Judge, parse_allowed
from safellm._core.neutral.gate import may_need
from safellm._core.neutral.links import LONGEST, LinkFilter, defang
from safellm._core.policy import Policy
from safellm.errors import ConfigurationError

JUDGE = Policy().judge()
assert JUDGE is not None
PIECES = [
    "`",
    "``",
    "```",
    "~~~",
    "{image} https://evil.example/x",
    ".. image::",
    ":target:",
    "@",
    "```\n",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " ",
    "    ",
    "\t",
    "> ",
    "- ",
    "1. ",
    "2) ",
    "a",
    "text ",
    "<",
    ">",
    "<!--",
    "-->",
    "<div>",
    "</div>",
    "<pre>",
    "</pre",
    "<b title='",
    "'>",
    '"',
    "<img src=",
    "<script",
    "=",
    "onx=",
    "![",
    "[",
    "](",
    "]:",
    "]",
    "(",
    ")",
    "!",
    "\\",
    "\\[",
    "$",
    "$$",
    "|",
    "<https://a.example>",
    "https://a.example/",
    "[https://b.example](https://a.example)",
    "javascript:",
    "//",
    "&",
    "&#58;",
    "[^1]: ",
    "?q=",
    "A1b2" * 12,
    "#",
    "\u00e9",
    U,
    "<x y",
    "<?",
    "<!X",
    "![a](",
    "pic.png",
    "{",
    "}",
    " style=",
    "src=",
    "](java\nscript:",
    "] (",
    "\\href{",
    "\\includegraphics",
    "\\let\\a",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(BENIGN), st.text(max_size=4)), max_size=14).map(
    "".join
)
STRICT = Judge(strict=True, pictures=False)


def in_pieces(text: str, pieces: list[str], judge: Judge) -> str:
    """Feed a text piece by piece."""
    links = LinkFilter(judge=judge)
    return "".join(map(links.feed, pieces)) + links.finish()


@settings(max_examples=600)
@given(TEXTS, st.data(), st.sampled_from([JUDGE, STRICT]))
def test_r_5_any_chunking_gives_the_whole_text(text: str, data: st.DataObject, judge: Judge) -> None:
    """However a text is cut, what comes out is what the whole gives; the fast check never says no to a change."""
    whole = defang(text, judge)
    assert in_pieces(text, list(cuts(text, data)), judge) == whole
    assert in_pieces(text, list(text), judge) == whole
    if not may_need(text, judge):
        assert whole == text


@given(TEXTS)
def test_only_marks_are_added(text: str) -> None:
    """What was written stays readable: spaces, backslashes, colons, hyphens and entities are all that is put in."""
    plain = re.compile(r"\s|[\\:=\-]")
    assert plain.sub("", defang(text, JUDGE).replace("&lt;", "<")) == plain.sub("", text.replace("&lt;", "<"))


@pytest.mark.parametrize("text", BENIGN)
def test_o_2_ordinary_text_and_code_stay(text: str) -> None:
    """False changes: none on what people and models usually write."""
    assert safellm.neutralise(text) == text
    assert in_pieces(text, list(text), JUDGE) == text


def test_o_2_every_case_is_changed() -> None:
    """Outside code nothing that fetches or runs stays as it is."""
    same = [case for case in (*MARKDOWN, *HTML) if safellm.neutralise(case.format(u=U)) == case.format(u=U)]
    # Harmless by itself: a tag in another one's title, and what follows a template or noscript is tried there.
    assert same == []


def test_o_2_links_that_hide_something_show_it() -> None:
    """User info, packed data, another address as text: the address becomes visible; ordinary links stay links."""
    packed = "https://a.example/?d=" + "A1b2" * 16
    for link in (f"[a]({packed})", "[a](https://bank.example@a.example/)", "[https://bank.example](https://a.example)"):
        assert "](" not in safellm.neutralise(link)
    for link in ("[a](https://a.example/b?c=d&e=1)", "[a.example](https://b.example)", "[a](mailto:a@b.example)"):
        assert safellm.neutralise(link) == link


def test_o_2_links_to_headings_stay() -> None:
    """The name of a heading may be long; a query may not."""
    for link in (
        "[a](https://a.example/api.html#stream_pipeline_source_transforms_destination_options_callback)",
        "[a]: https://a.example/b#set-up-your-shell-environment-for-the-first-time-on-any-system",
    ):
        assert safellm.neutralise(link) == link
    for link in (f"[a](https://a.example/#{'word-' * 50})", f"[a](https://a.example/#{'%41%42' * 8})"):
        assert safellm.neutralise(link) != link


def test_o_2_a_long_name_is_changed_wherever_it_is_cut() -> None:
    """An image's name that is longer than is looked at is made text, also if a piece ends just there."""
    text = f"![{'a' * 400}](https://evil.example/x)"
    for at in range(290, 310):
        assert in_pieces(text, [text[:at], text[at:]], JUDGE) == defang(text, JUDGE) != text


def test_o_2_directives_show_what_may_be_fetched() -> None:
    """A picture beside the page stays, one from a listed origin too; strictly, only that."""
    judge = Judge((parse_allowed("https://cdn.example"),))
    for good in ("```{image} a/b.png\n```", ":::{figure} https://cdn.example/a.png\n:::", ".. image:: a.png"):
        assert defang(good, judge) == good
    assert defang("```{image} a/b.png\n```", STRICT) == "```{ image} a/b.png\n```"
    assert defang(".. image:: https://evil.example/a", judge) == ".. image: : https://evil.example/a"


def test_o_2_what_becomes_text_makes_no_link_of_what_is_around_it() -> None:
    """A link that wasn't one because of the tag inside it is none afterwards either; a picture leaves no script link behind."""
    assert safellm.neutralise("<javascript:alert(1)<style>") == "&lt;javascript:alert(1)&lt;style>"
    assert safellm.neutralise("![a](javascript:alert(1))") == "! [a] \\(javascript:alert(1))"
    assert safellm.neutralise("![a] (https://evil.example/x)") == "! [a] \\(https://evil.example/x)"
    assert safellm.neutralise("![a](a.png){src=https://evil.example/x}") == "![a](a.png){src: https://evil.example/x}"


def test_o_2_the_allow_list_lets_through() -> None:
    """A listed origin may be loaded from; a path in the list means what lies below it, without a query."""
    judge = Judge((parse_allowed("https://cdn.example"), parse_allowed("https://a.example/img/")))
    for good in ("https://cdn.example/a?b=c", "https://a.example/img/b.png"):
        assert defang(f"![a]({good})", judge) == f"![a]({good})"
    for bad in (
        "https://cdn.example.evil.example/", "http://cdn.example/", "https://cdn.example:8443/", "https://x@cdn.example/",
        "https://a.example/img/../x", "https://a.example/img/%2e%2e/x", "https://a.example/img/b?c", "https://a.example/image",
    ):  # fmt: skip
        assert defang(f"![a]({bad})", judge) != f"![a]({bad})"


def test_a_wrong_origin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy says where the mistake is."""
    monkeypatch.setenv("SAFELLM_OUTPUT_ALLOWED_ORIGINS", '["evil"]')
    with pytest.raises(ConfigurationError, match="is not an origin"):
        safellm.neutralise("a")


def test_what_is_held_back_is_bounded() -> None:
    """A construct that never ends holds back no more than the longest that is looked at."""
    for begin in (
        "<a b",
        "<a b='",
        "![a](",
        "[a](",
        "[a]: ",
        "`<b> ",
        "<https:",
        "![a",
        "<x =",
        "<!--",
        "</a ",
        "```{image} ",
        "\n.. image:: ",
    ):
        links = LinkFilter(judge=JUDGE)
        out = links.feed("text " + begin)
        for _ in range(60):
            out += links.feed("x" * 100)
        assert len("text " + begin) + 6000 - len(out) <= LONGEST + 4, begin


def test_ordinary_text_is_not_held_back() -> None:
    """Prose, emphasis and code come out with the very piece that brought them."""
    links = LinkFilter(judge=JUDGE)
    pieces = [
        "Some ",
        "**bold** ",
        "and `co",
        "de` a",
        "nd\n",
        "```py",
        "thon\n",
        "x = 1\n",
        "```\n",
        "1. ",
        "item (",
        "a)\n",
    ]
    assert [links.feed(piece) for piece in pieces] == pieces
    assert links.finish() == ""


def join(raw: bytes) -> str:
    """Return the text of a chat stream."""
    events = [json.loads(line[6:]) for line in raw.decode().split("\n\n") if line and line != "data: [DONE]"]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def stream(text: str, **more: Any) -> tuple[str, World]:
    """Return a reply's text as a program gets it in pieces of three characters."""
    world = World()
    exchange, _ = world.begin(chat("hi", stream=True, **more))
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    events = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    end = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    raw = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in (*events, end)]
    got = join(answer(exchange, [*raw, b"data: [DONE]\n\n"], "text/event-stream"))
    world.run(exchange.finish())
    return got, world


def whole(text: str, world: World | None = None, **more: Any) -> dict[str, Any]:
    """Return the message of an unstreamed reply as a program gets it."""
    exchange, _ = (world or World()).begin(chat("hi", **more))
    call = {"type": "function", "id": "f", "function": {"name": "show", "arguments": json.dumps({"html": text})}}
    message = {"role": "assistant", "content": text, "tool_calls": [call]}
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    got: dict[str, Any] = json.loads(answer(exchange, [json.dumps(body).encode()]))["choices"][0]["message"]
    return got


@pytest.mark.parametrize("text", [*(case.format(u=U) for case in (*MARKDOWN, *HTML)), *BENIGN])
def test_o_2_replies_are_neutralised_streamed_or_not(text: str) -> None:
    """A program gets what `neutralise` gives, in both ways; tool arguments stay the JSON that they were."""
    message = whole(text)
    assert message["content"] == safellm.neutralise(text)
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"html": text}
    assert stream(text)[0] == safellm.neutralise(text)


def test_o_2_the_record_counts() -> None:
    """What was defanged stands in the record of the call."""
    _, world = stream(f"![a]({U}) and <img src={U}>")
    assert world.record("call.outcome")["safellm.output.actions"] == {"link_defanged": 2}


def test_json_answers_stay_as_they_are() -> None:
    """Text that is JSON isn't rendered: it comes byte for byte."""
    text = json.dumps({"html": f"<img src={U}>", "markdown": f"![a]({U})"})
    assert whole(text, response_format={"type": "json_object"})["content"] == text


def test_modes_and_settings_decide() -> None:
    """Observing changes nothing, `pass` neither; strict shows the address of every link."""
    link = "[a](https://a.example/b)"
    assert whole(f"![a]({U})", World({"mode": "observe"}))["content"] == f"![a]({U})"
    assert whole(f"![a]({U})", World({"output": {"links": "pass"}}))["content"] == f"![a]({U})"
    assert whole(link)["content"] == link
    for settings_ in ({"mode": "strict"}, {"output": {"links": "show"}}):
        assert whole(link, World(settings_))["content"] == "[a] \\(https://a.example/b)"


@given(TEXTS)
@example("![a](https://img.shields.io/badge/a-b)")
def test_o_2_the_markdown_sink_lets_no_tag_through(text: str) -> None:
    """Outside code no tag stays, and a text isn't treated twice."""
    shown = sinks.markdown(text)
    assert sinks.markdown(shown) is shown
    if (
        "`" not in text
        and "~" not in text
        and "\n" not in text
        and "\r" not in text
        and "    " not in text
        and "\t" not in text
    ):
        assert (
            re.search(r"<(?!https?:)[A-Za-z/!?]", shown.replace("<https:", "")) is None or "@" in shown or ":" in shown
        )


def test_o_2_the_markdown_sink_shows_addresses() -> None:
    """Links to listed origins stay links, all others are text with their address; pictures never load."""
    text = "[a](https://a.example/x) [b](https://b.example/) ![c](https://a.example/c.png) <b>d</b> [e](#f)"
    shown = sinks.markdown(text, allow_origins=["https://a.example"])
    assert shown == (
        "[a](https://a.example/x) [b] \\(https://b.example/) ! [c] (https://a.example/c.png) &lt;b>d&lt;/b> [e](#f)"
    )


def test_every_surrounding_was_tried() -> None:
    """The corpus holds each case, and each surrounding of some."""
    assert len(list(attacks())) == len(MARKDOWN) + len(HTML) + 4 * (len(AROUND) - 1)
