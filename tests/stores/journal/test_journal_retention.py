"""Packed files are read as before; what is removed leaves the proof of the rest."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from safellm._core.note import read_checkpoint
from safellm.errors import ConfigurationError
from safellm.stores.journal.checkpoints import check_signature, make_checkpoint, signing_key, verifier_key
from safellm.stores.journal.files import find, tail, verify_directory
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.proof import Fit, prove
from safellm.stores.journal.pruned import read_start, start_file
from safellm.stores.journal.retention import pack, prune

NOW = 1_790_000_000_000_000_000


def write(folder: Path, numbers: range) -> None:
    journal = JsonlJournal(folder, sync="none", rotate_bytes=900)
    for number in numbers:
        journal.append("test.event", {"number": number}, time_ns=NOW + number)
    journal.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    folder = tmp_path / "trail"
    write(folder, range(20))
    return folder


def test_packed_files_are_read_as_before(trail: Path, state: Path) -> None:
    """The same records, the same check, the same tree; the newest stays, and writing goes on."""
    point = make_checkpoint(trail, signing_key(state), now_ns=1)
    assert point is not None
    before, shown = verify_directory(trail), tail(trail, 100)
    count = len(find(trail))
    assert pack(trail) == count - 1
    assert pack(trail) == 0
    assert [file.is_compressed for file in find(trail)] == [True] * (count - 1) + [False]
    assert (verify_directory(trail), tail(trail, 100)) == (before, shown)
    assert prove(trail, [point.checkpoint]).ok
    write(trail, range(20, 40))
    assert verify_directory(trail).ok
    later = make_checkpoint(trail, signing_key(state), now_ns=2)
    assert later is not None
    assert prove(trail, [point.checkpoint, later.checkpoint]).ok


def test_crash_between_packing_and_removing_is_harmless(trail: Path) -> None:
    """Both are there: the plain one counts, and the next run packs again."""
    first = find(trail)[0].path
    kept = first.read_bytes()
    pack(trail)
    first.write_bytes(kept)
    first.chmod(0o600)
    assert verify_directory(trail).ok
    assert not find(trail)[0].is_compressed
    assert pack(trail) == 1


@pytest.mark.parametrize("place", [0, 12, -20, -6, -1])
def test_l_7_damaged_packed_file_is_named(trail: Path, place: int) -> None:
    """Wherever it is damaged: an error with its name, or a problem; never a sound trail, never a crash."""
    pack(trail)
    path = find(trail)[1].path
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)
    try:
        found = verify_directory(trail)
    except ConfigurationError as error:
        assert error.where == str(path)
    else:
        assert not found.ok


def test_l_7_cut_packed_file_is_found(trail: Path) -> None:
    """The end of its data is missing."""
    pack(trail)
    path = find(trail)[1].path
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConfigurationError, match="damaged"):
        verify_directory(trail)


def test_pruned_trail_is_proved_by_all_later_checkpoints(trail: Path, state: Path) -> None:
    """Also by copies that were kept before anything was removed; earlier ones are told as pruned."""
    key = signing_key(state)
    early = make_checkpoint(trail, key, now_ns=1)
    write(trail, range(20, 60))
    late = make_checkpoint(trail, key, now_ns=2)
    assert early is not None
    assert late is not None
    pack(trail)
    done = prune(trail, key, before_ns=NOW + 40, now_ns=3)
    assert done is not None
    assert done.files > 10
    checked = verify_directory(trail)
    assert checked.ok
    assert checked.first_seq == done.through_seq + 1
    found = prove(trail, [early.checkpoint, late.checkpoint])
    assert found.ok
    assert [fit for _, fit in found.fits] == [Fit.PRUNED, Fit.MATCHES]
    assert found.lines == late.checkpoint.size
    write(trail, range(60, 80))
    again = prune(trail, key, before_ns=NOW + 50, now_ns=4)
    assert again is not None
    assert again.through_seq > done.through_seq
    assert verify_directory(trail).ok
    assert prove(trail, [late.checkpoint]).ok
    newest = make_checkpoint(trail, key, now_ns=5)
    assert newest is not None
    assert prove(trail, [late.checkpoint, newest.checkpoint]).ok


def test_l_1_edit_in_what_is_left_is_found_after_pruning(trail: Path, state: Path) -> None:
    """By the chain, and by a checkpoint that is older than the pruning."""
    kept = make_checkpoint(trail, signing_key(state), now_ns=1)
    assert kept is not None
    prune(trail, signing_key(state), before_ns=NOW + 8, now_ns=2)
    path = find(trail)[0].path
    path.write_bytes(re.sub(rb'"number":(\d+)', rb'"number":1\1', path.read_bytes(), count=1))
    assert not verify_directory(trail).ok
    assert not prove(trail, [kept.checkpoint]).ok


def test_l_2_removal_by_another_hand_is_found(trail: Path, state: Path, tmp_path: Path) -> None:
    """Who removes files and makes up a note has another key, and a tree that doesn't fit kept checkpoints."""
    kept = make_checkpoint(trail, signing_key(state), now_ns=1)
    assert kept is not None
    find(trail)[0].path.unlink()
    assert not verify_directory(trail).ok
    uid = kept.checkpoint.origin.rpartition("/")[2]
    forger = signing_key(tmp_path / "forger")
    for file in trail.glob("checkpoints-*"):
        file.unlink()
    path = start_file(trail, uid)
    path.write_text('{"note": "x", "peaks": [], "file": 1}')
    with pytest.raises(ConfigurationError, match="can't be trusted"):
        verify_directory(trail)
    path.unlink()
    second = verify_directory(trail)
    assert second.first_seq is not None
    # A note whose words fit the chain, over a tree of the right size with other leaves.
    from safellm._core import note
    from safellm._core.merkle import Tree
    from safellm._core.record import unseal
    from safellm.stores.journal.pruned import write_start

    first = unseal(find(trail)[0].path.read_bytes().splitlines(keepends=True)[0])
    tree = Tree()
    for number in range(first.seq - 1):
        tree.add(b"%d" % number)
    made = note.Checkpoint(
        origin=kept.checkpoint.origin, size=tree.size, root=tree.root(),
        extra=(f"record {first.seq - 1}", f"head {first.prev}", "time x"),
    )  # fmt: skip
    write_start(trail, uid, text=note.sign_note(made.text(), verifier_key(forger, uid), forger.sign), tree=tree, file=1)
    assert verify_directory(trail).ok  # the chain alone can't know
    assert prove(trail, [kept.checkpoint]).fits[0][1] is Fit.DIFFERS
    start = read_start(trail)
    assert start is not None
    with pytest.raises(note.MalformedNote):
        note.open_note(start.note, verifier_key(signing_key(state), uid), check_signature)


def test_note_of_what_was_pruned_is_a_signed_checkpoint(trail: Path, state: Path) -> None:
    """With the number, the hash and the root of what is gone."""
    from safellm._core import note

    make_checkpoint(trail, signing_key(state), now_ns=1)
    done = prune(trail, signing_key(state), before_ns=NOW + 8, now_ns=2)
    start = read_start(trail)
    assert done is not None
    assert start is not None
    assert start.seq == done.through_seq
    uid = verify_directory(trail).chain_uid or ""
    text = note.open_note(start.note, verifier_key(signing_key(state), uid), check_signature)
    assert read_checkpoint(text).root == start.tree.root()


def test_nothing_is_removed_without_a_checkpoint_or_from_a_broken_trail(trail: Path, state: Path) -> None:
    """And nothing where no file is old enough; the newest file always stays."""
    count = len(find(trail))
    with pytest.raises(ConfigurationError, match="No checkpoint"):
        prune(trail, signing_key(state), before_ns=NOW + 8, now_ns=2)
    make_checkpoint(trail, signing_key(state), now_ns=1)
    assert prune(trail, signing_key(state), before_ns=NOW, now_ns=2) is None
    path = find(trail)[2].path
    sound = path.read_bytes()
    path.write_bytes(sound[:50] + b"x" + sound[51:])
    with pytest.raises(ConfigurationError, match="broken"):
        prune(trail, signing_key(state), before_ns=NOW + 8, now_ns=2)
    assert len(find(trail)) == count
    path.write_bytes(sound)
    assert prune(trail, signing_key(state), before_ns=NOW + 10**9, now_ns=2) is not None
    assert len(find(trail)) == 1


def test_crash_while_removing_leaves_a_sound_trail(trail: Path, state: Path) -> None:
    """The note is written first: files it declares removed are not read, and go with the next run."""
    make_checkpoint(trail, signing_key(state), now_ns=1)
    files = [(file.path, file.path.read_bytes()) for file in find(trail)]
    prune(trail, signing_key(state), before_ns=NOW + 8, now_ns=2)
    for path, data in files[1:3]:
        path.write_bytes(data)
        path.chmod(0o600)
    assert verify_directory(trail).ok
    write(trail, range(20, 40))
    assert verify_directory(trail).ok
    make_checkpoint(trail, signing_key(state), now_ns=3)
    prune(trail, signing_key(state), before_ns=NOW + 20, now_ns=4)
    assert not any(path.exists() for path, _ in files[1:3])
    assert verify_directory(trail).ok


def test_trail_goes_on_where_only_packed_files_are_left(trail: Path) -> None:
    """A packed file is never written to; the chain goes on in a new one, and the gap shows if there is one."""
    find(trail)[-1].path.unlink()
    write(trail, range(20, 21))
    pack(trail)
    newest = find(trail)[-1]
    newest.path.unlink()
    packed = find(trail)[-1]
    assert packed.is_compressed
    data = packed.path.read_bytes()
    write(trail, range(24, 25))
    assert packed.path.read_bytes() == data
    assert find(trail)[-1].index == packed.index + 1
    assert tail(trail, 1)[0]["number"] == 24
