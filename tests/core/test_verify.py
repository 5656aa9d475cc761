"""The verifier: every change is found and placed, nothing makes it fail (THREATS L.1, L.2, L.7, L.8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safellm._core.record import GENESIS, MAX_LINE_BYTES, rfc3339, seal
from safellm._core.verify import (
    FRAGMENT_BYTES,
    FRAGMENT_SHA256,
    MAX_PROBLEMS,
    RECOVER,
    KnownHead,
    Verification,
    verify,
)


def _next(before: list[bytes], head: tuple[int, str], event: str, uid: str, **fields: object) -> tuple[int, str]:
    seq, prev = head
    sealed = seal(
        chain_uid=uid,
        seq=seq + 1,
        prev=prev,
        event=event,
        fields=fields,  # type: ignore[arg-type]
        time=rfc3339(seq),
        time_ns=seq,
        event_id=f"e{seq + 1}",
    )
    before.append(sealed.line)
    return seq + 1, sealed.hash


def _chain(length: int, *, uid: str = "a" * 32) -> list[bytes]:
    lines: list[bytes] = []
    head = (0, GENESIS)
    for number in range(length):
        head = _next(lines, head, "call.outcome", uid, n=number, text="x{}\n")
    return lines


def _crashed(
    fragment: bytes, *, uid: str = "a" * 32, size: int | None = None, digest: str | None = None
) -> list[bytes]:
    """Return two records, a fragment, the record that names it, and one more."""
    lines: list[bytes] = []
    head = (0, GENESIS)
    for _ in range(2):
        head = _next(lines, head, "call.intent", uid)
    rest: list[bytes] = []
    named = {
        FRAGMENT_BYTES: len(fragment) if size is None else size,
        FRAGMENT_SHA256: digest or hashlib.sha256(fragment).hexdigest(),
    }
    head = _next(rest, head, RECOVER, uid, **named)
    _next(rest, head, "call.intent", uid)
    return [*lines, *(fragment + b"\n").splitlines(keepends=True), *rest]


def _check(lines: list[bytes], **options: object) -> Verification:
    # Cut again: a change may have made one line of two.
    return verify([("f", b"".join(lines).splitlines(keepends=True))], **options)  # type: ignore[arg-type]


CHAIN = _chain(8)
OTHER = _chain(8, uid="b" * 32)


def test_whole_chain_is_ok() -> None:
    """An untouched chain has no problem, and the text says what it doesn't prove."""
    found = _check(CHAIN)
    assert (found.ok, found.records, found.first_seq, found.last_seq) == (True, 8, 1, 8)
    assert "cut off" in found.explain()
    assert "rewritten" in found.explain()


@given(st.data())
def test_l_1_edited_byte_is_found_in_its_line(data: st.DataObject) -> None:
    """Any other value of any byte, but for the LF, is reported at that line with that number."""
    number = data.draw(st.integers(0, 7))
    line = bytearray(CHAIN[number])
    position = data.draw(st.integers(0, len(line) - 2))
    line[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte not in {line[position], 0x0A, 0x0D}))
    found = _check([*CHAIN[:number], bytes(line), *CHAIN[number + 1 :]])
    assert not found.ok
    assert (found.problems[0].file, found.problems[0].line) == ("f", number + 1)
    assert found.problem_count == 1


@given(st.integers(0, 6), st.integers(1, 3))
def test_l_1_deleted_records_are_named(number: int, count: int) -> None:
    """Records taken out before the last one are named as a gap; the next line is where it shows."""
    count = min(count, 7 - number)
    found = _check([*CHAIN[:number], *CHAIN[number + count :]])
    assert found.problem_count == 1
    assert found.problems[0].line == number + 1
    assert f"records {number + 1} to {number + count} are missing" in found.problems[0].what


@given(st.integers(0, 7), st.integers(0, 8))
def test_l_1_repeated_record_is_found(number: int, place: int) -> None:
    """A record copied to any other place is reported there."""
    found = _check([*CHAIN[:place], CHAIN[number], *CHAIN[place:]])
    assert not found.ok
    assert found.problems[0].line in {place + 1, place + 2}


@given(st.integers(0, 7), st.integers(0, 7))
def test_l_1_swapped_records_are_found(one: int, two: int) -> None:
    """Two records that changed places are reported at the first of them."""
    lines = list(CHAIN)
    lines[one], lines[two] = lines[two], lines[one]
    found = _check(lines)
    assert found.ok == (one == two)
    if one != two:
        assert found.problems[0].line == min(one, two) + 1


@given(st.integers(1, 7), st.integers(0, 7))
def test_l_1_spliced_chains_are_found(cut: int, start: int) -> None:
    """The end of another chain behind the beginning of this one is reported where it begins."""
    found = _check([*CHAIN[:cut], *OTHER[start:]])
    assert not found.ok
    assert found.problems[0].line == cut + 1
    assert "another chain" in found.problems[0].what


@given(st.integers(1, 7), st.data())
def test_l_1_truncated_middle_is_found(number: int, data: st.DataObject) -> None:
    """Bytes cut out across a line's end are reported at that line."""
    whole = b"".join(CHAIN)
    begin = sum(map(len, CHAIN[: number - 1])) + data.draw(st.integers(0, len(CHAIN[number - 1]) - 1))
    end = data.draw(st.integers(begin + 1, min(len(whole) - 1, begin + 1500)))
    found = _check([whole[:begin] + whole[end:]])
    assert not found.ok
    assert found.problems[0].line in {number, number + 1}


def test_l_1_rewritten_hash_breaks_the_next_record() -> None:
    """An edit with a new hash of its own is found at the record after it, or by a head that was kept."""
    lines = list(CHAIN)
    forged: list[bytes] = []
    head = _next(forged, (3, _check(CHAIN[:3]).head), "call.outcome", "a" * 32, n=99)
    found = _check([*lines[:3], *forged, *lines[4:]])
    assert [(problem.line, problem.seq) for problem in found.problems] == [(5, 5)]
    assert "prev" in found.problems[0].what
    last = _check([*lines[:3], *forged], known=KnownHead(seq=4, hash=_check(CHAIN[:4]).head))
    assert head[1] == last.head
    assert "kept elsewhere" in last.problems[0].what


def test_l_2_cut_tail_is_found_only_with_a_kept_head() -> None:
    """Without a kept head a shorter trail is whole; with one the cut is reported, and a later one says up to where."""
    known = KnownHead(seq=8, hash=_check(CHAIN).head)
    assert _check(CHAIN[:5]).ok
    found = _check(CHAIN[:5], known=known)
    assert not found.ok
    assert "cut off" in found.problems[0].what
    whole = _check(CHAIN, known=known)
    assert whole.ok
    assert "up to record 8" in whole.explain()
    assert not _check([], known=known).ok
    assert not _check(CHAIN[:0]).ok


def test_archived_beginning_can_be_given() -> None:
    """A trail whose first files are elsewhere is whole from a given number and hash on, and only then."""
    head = _check(CHAIN[:3]).head
    assert _check(CHAIN[3:], start_seq=4, start_prev=head).ok
    found = _check(CHAIN[3:])
    assert "records 1 to 3 are missing" in found.problems[0].what


@pytest.mark.parametrize("fragment", [b'{"chain.uid":"aa', b"\x00" * 50, b'{"a\n{"b', b"x\n", b"{\n\n\n"], ids=repr)
def test_l_5_named_fragment_is_explained(fragment: bytes) -> None:
    """A torn line, also with breaks inside, is accepted when the next record names it."""
    found = _check(_crashed(fragment))
    assert found.ok, found.problems
    assert [(part.line, part.bytes, part.named_by_seq) for part in found.recovered] == [(3, len(fragment), 3)]


def test_l_5_fragment_that_is_not_the_named_one_is_found() -> None:
    """A changed, missing or longer fragment is reported, and so is one that nobody names."""
    lines = _crashed(b'{"torn')
    assert _check(lines).ok
    for changed in (
        [*lines[:2], b'{"turn\n', *lines[3:]],
        [*lines[:2], *lines[3:]],
        [*lines[:2], b"\n", *lines[2:]],
        [*lines[:3], b"\n", *lines[3:]],
        [*lines[:3], *lines[4:]],
        _crashed(b'{"torn', size=7),
        _crashed(b'{"torn', digest="0" * 64),
    ):
        found = _check(changed)
        assert not found.ok
        assert found.problems[0].line in {3, 4}


def test_l_5_edited_record_cannot_pass_as_a_crash() -> None:
    """A whole line that was edited stays a problem even though a later record names its bytes."""
    edited = _chain(3)[2].replace(b'"n":2', b'"n":3').rstrip(b"\n")
    found = _check(_crashed(edited))
    assert not found.ok
    assert "not left by a crash" in found.problems[0].what


def test_l_1_gap_behind_a_bad_line_is_told_too() -> None:
    """A line that is no record stands for one record at most: what is missing beyond it is reported as well."""
    found = _check([*CHAIN[:2], b"junk\n", *CHAIN[3:]])
    assert [problem.line for problem in found.problems] == [3]
    found = _check([*CHAIN[:2], b"junk\n", *CHAIN[5:]])
    assert [problem.line for problem in found.problems] == [3, 4]
    assert "are missing" in found.problems[1].what


def test_unfinished_last_line_is_reported() -> None:
    """A last line without its end is a problem until the next writer has named it."""
    found = _check([*CHAIN[:7], CHAIN[7][:-1]])
    assert [(problem.line, problem.seq) for problem in found.problems] == [(8, 8)]
    assert "not finished" in found.problems[0].what


def test_l_8_files_follow_each_other_and_a_missing_one_is_found() -> None:
    """The chain runs across files; a missing or swapped middle file is reported where it shows."""
    files = [("1", CHAIN[:3]), ("2", CHAIN[3:5]), ("3", CHAIN[5:])]
    assert verify(files).ok
    missing = verify([files[0], files[2]])
    assert [(problem.file, problem.line) for problem in missing.problems] == [("3", 1)]
    assert "records 4 to 5 are missing" in missing.problems[0].what
    swapped = verify([files[0], ("2", CHAIN[5:]), ("3", CHAIN[3:5])])
    assert (swapped.problems[0].file, swapped.problems[0].line) == ("2", 1)
    assert not verify([("1", [*CHAIN[:2], CHAIN[2][:-1]]), ("2", CHAIN[3:])]).ok


def test_open_intents_are_paired_by_parent() -> None:
    """An intent is open until an outcome has its id as parent; other events and odd parents don't close it."""
    lines: list[bytes] = []
    head = (0, GENESIS)
    events: list[tuple[str, dict[str, object]]] = [
        ("call.intent", {}),
        ("call.intent", {}),
        ("call.outcome", {"event.parent": "e1"}),
        ("call.outcome", {"event.parent": ["e2"]}),
        ("redaction", {"event.parent": "e2"}),
        ("call.outcome", {"event.parent": "unknown"}),
    ]
    for event, fields in events:
        head = _next(lines, head, event, "a" * 32, **fields)
    assert [(intent.seq, intent.event_id) for intent in _check(lines).open_intents] == [(2, "e2")]


@given(st.binary(max_size=300), st.integers(0, 8), st.integers(0, 400))
@example(b"\r", 3, 0)
@example(b"[" * 300, 0, 0)
def test_l_7_inserted_bytes_never_pass(noise: bytes, number: int, offset: int) -> None:
    """Bytes put anywhere into a trail never leave it ok, and never make the verifier fail."""
    whole = b"".join(CHAIN)
    place = min(len(whole), sum(map(len, CHAIN[:number])) + offset)
    found = _check([whole[:place] + noise + whole[place:]])
    assert found.ok == (noise == b"")


@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([*CHAIN, *OTHER, *_crashed(b"x")])), max_size=12))
def test_l_7_any_lines_are_survived(lines: list[bytes]) -> None:
    """Whatever lines come, in whatever order, only an unbroken run from record 1 is ok."""
    found = verify([("f", lines)])
    whole = [CHAIN, OTHER, _crashed(b"x")]
    assert found.ok == any(lines and lines == good[: len(lines)] and lines[-1] != b"x\n" for good in whole)


def test_l_7_mixed_line_ends_are_found() -> None:
    """A trail that an editor saved with CR LF is not what was written."""
    assert not _check([line.replace(b"\n", b"\r\n") for line in CHAIN]).ok
    assert not _check([*CHAIN[:4], CHAIN[4].replace(b"\n", b"\r\n"), *CHAIN[5:]]).ok


def test_l_7_ruined_file_is_told_in_bounded_space() -> None:
    """A file with more faults than can be listed is counted; a line without end is refused."""
    lines = [line for pair in zip([OTHER[0]] * 1500, [b"junk\n"] * 1500, strict=True) for line in pair]
    found = verify([("f", [*CHAIN, *lines])])
    assert len(found.problems) == MAX_PROBLEMS
    assert found.problem_count > MAX_PROBLEMS
    assert "problem" in found.explain()
    assert "longer" in verify([("f", [b"x" * (MAX_LINE_BYTES + 1)])]).problems[0].what


def test_nothing_at_all_is_not_ok() -> None:
    """No file, no line and a kept head that is missing are problems."""
    assert not verify([]).ok
    assert not verify([("f", [])]).ok
    assert not verify([("f", CHAIN)], start_seq=1, known=KnownHead(seq=9, hash=GENESIS)).ok
    assert not verify(
        [("f", CHAIN[3:])], start_seq=4, start_prev=_check(CHAIN[:3]).head, known=KnownHead(seq=2, hash="x")
    ).ok
