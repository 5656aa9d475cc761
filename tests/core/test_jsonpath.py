"""Places in JSON bodies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.jsonpath import covers, parse_path


@pytest.mark.parametrize(
    ("path", "place", "expected"),
    [
        ("user", ("user",), True), ("user", ("users",), False), ("user", ("a", "user"), False), ("user", (), False),
        ("user", ("user", "name", 3), True), ("a.b", ("a",), False), ("a.b", ("a", "b"), True), ("a[*].b", ("a", 7, "b"), True),
        ("a[2].b", ("a", 7, "b"), False), ("a[2].b", ("a", 2, "b"), True), ("a.*.b", ("a", "x", "b"), True),
        ("a.*.b", ("a", 1, "b"), False), ("*", ("x",), True), ("*", (0,), False), ("[*]", (0,), True), ("[*].a", (3, "a"), True),
        ("**.ssn", ("ssn",), True), ("**.ssn", ("a", 0, "b", "ssn"), True), ("**.ssn", ("a", "ssns"), False),
        ("a.**.b", ("a", "b"), True), ("a.**.b", ("a", 1, "x", "b"), True), ("a.**.b", ("b",), False), ("**",
        ("anything",), True),
        ('"odd.name"[0]', ("odd.name", 0), True), ('a."*"', ("a", "*"), True), ('a."*"', ("a", "x"), False),
        ("a.**.b.c", ("a", "b", "b", "c"), True),
    ],
)  # fmt: skip
def test_e5_paths_cover_places(path: str, place: tuple[str | int, ...], expected: bool) -> None:
    """Names, places in lists, one level, any depth; and everything below."""
    assert covers(parse_path(path), place) is expected


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a b]", '"', 'a"b"', "a[*", "***", "a[1.b"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    """A misspelt path would hide nothing, so it is an error."""
    with pytest.raises(ValueError, match="not a path"):
        parse_path(path)


@given(
    st.lists(st.one_of(st.from_regex(r"[a-z *.\[\]]{1,4}", fullmatch=True), st.integers(0, 99)), min_size=1, max_size=5)
)
def test_every_place_can_be_named(place: list[str | int]) -> None:
    """Quoted names and numbers name exactly one place and what is below it."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f'."{part}"' for part in place).removeprefix(".")
    steps = parse_path(path)
    assert covers(steps, place)
    assert covers(steps, [*place, "x"])
    assert not covers(steps, place[:-1])
