"""Texts that are likely to trip a filter, and ways to cut them."""

from __future__ import annotations

from hypothesis import strategies as st

FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e007f"
SPECIALS = [
    "\u200b", "\u200d", "\u200c", "\ufe0f", "\u2060", "\u00ad", "\u202e", "\U000e0041", "\U000e007f", "\x1b[31m", "\x07",
    "\x08", "\r", "\r\n", "\n", "\t", "\x9b", "👨\u200d👩", "❤\ufe0f", "می\u200cخواهم", FLAG, "\U0001f3f4", "X", "X-", "-",
    "X-EMAIL-", "é", "\ud800", " ", "://", "](", ")", "<a ", ">", "http://x.y/", "www.", ".", "/", "@", '"', "\\",
]  # fmt: skip


def texts(*more: str, max_pieces: int = 12) -> st.SearchStrategy[str]:
    """Return texts made of specials, the given pieces and ordinary text."""
    piece = st.one_of(st.sampled_from([*SPECIALS, *more]), st.text(max_size=6))
    return st.lists(piece, max_size=max_pieces).map("".join)


def cuts(text: str | bytes, data: st.DataObject) -> list[str] | list[bytes]:
    """Return the text in pieces, cut at drawn places."""
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    edges = [0, *places, len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
