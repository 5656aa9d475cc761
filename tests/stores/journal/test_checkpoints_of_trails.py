"""Checkpoints over real trails: what was signed is proved, and every change below one is found (THREATS L.2, L.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safellm._core.record import GENESIS, rfc3339, seal, unseal
from safellm.errors import ConfigurationError
from safellm.stores.journal import checkpoints
from safellm.stores.journal.checkpoints import checkpoint_file, make_checkpoint, read_signed, signing_key, verifier_key
from safellm.stores.journal.files import find, verify_directory
from safellm.stores.journal.jsonl import JsonlJournal
from safellm.stores.journal.proof import Fit, prove, read_kept, split_notes

NOW = 1_760_000_000_000_000_000


@pytest.fixture
def private(tmp_path):
    return signing_key(tmp_path / "state")


@pytest.fixture
def trail(tmp_path):
    return tmp_path / "trail"


def write(trail, count, **more):
    journal = JsonlJournal(trail, sync="none", **more)
    for number in range(count):
        journal.append("test.event", {"number": number}, time_ns=NOW + number)
    journal.close()


def lines_of(trail):
    return b"".join(file.path.read_bytes() for file in find(trail)).splitlines(keepends=True)


def uid_of(trail):
    return unseal(lines_of(trail)[0]).chain_uid


def test_a_checkpoint_proves_what_was_written_before_it(trail, private, tmp_path):
    """Across files; what comes later is said to be unproved."""
    write(trail, 30, rotate_bytes=2_000)
    assert len(find(trail)) > 3
    signed = make_checkpoint(trail, private, now_ns=NOW)
    write(trail, 5, rotate_bytes=2_000)
    (tmp_path / "kept").write_text(signed.note)
    kept = read_kept(tmp_path / "kept", verifier_key(private, uid_of(trail)))
    found = prove(trail, kept)
    assert found.ok
    assert found.proved == signed.tree.size
    assert found.lines == len(lines_of(trail))
    assert f"the last {found.lines - found.proved} lines are not" in found.explain()


def test_the_next_checkpoint_reads_only_what_is_new(trail, private):
    """And has the same root as one that is made from the start; without new lines there is none."""
    write(trail, 10, rotate_bytes=2_000)
    make_checkpoint(trail, private, now_ns=NOW)
    assert make_checkpoint(trail, private, now_ns=NOW) is None
    write(trail, 11, rotate_bytes=2_000)
    older = find(trail)[0].path
    kept = older.read_bytes()
    older.write_bytes(b"x" * len(kept))  # it isn't read again
    second = make_checkpoint(trail, private, now_ns=NOW)
    older.write_bytes(kept)
    checkpoint_file(trail, uid_of(trail)).unlink()
    anew = make_checkpoint(trail, private, now_ns=NOW)
    assert second.checkpoint == anew.checkpoint
    assert second.tree == anew.tree


def test_l_3_the_list_of_checkpoints_is_checked_before_it_is_continued(trail, private):
    """Edited peaks, a note of another key: nothing is signed on top of them."""
    write(trail, 5)
    make_checkpoint(trail, private, now_ns=NOW)
    path = checkpoint_file(trail, uid_of(trail))
    entry = json.loads(path.read_text())
    write(trail, 5)
    for change in (
        {"peaks": entry["peaks"][::-1]},
        {"note": entry["note"].replace("record", "recorD")},
        {"offset": -1},
    ):
        path.write_text(json.dumps({**entry, **change}) + "\n")
        with pytest.raises(ConfigurationError, match="not one of this installation"):
            make_checkpoint(trail, private, now_ns=NOW)
    path.write_text(json.dumps(entry) + "\n")
    assert make_checkpoint(trail, private, now_ns=NOW) is not None


def test_a_torn_checkpoint_is_taken_away(trail, private):
    """A crash in the middle of writing one: it was told to nobody."""
    write(trail, 5)
    make_checkpoint(trail, private, now_ns=NOW)
    path = checkpoint_file(trail, uid_of(trail))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    write(trail, 5)
    key = verifier_key(private, uid_of(trail))
    assert len(read_signed(trail, uid_of(trail), key)) == 1
    make_checkpoint(trail, private, now_ns=NOW)
    assert len(read_signed(trail, uid_of(trail), key)) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_l_2_every_change_below_a_kept_checkpoint_is_found(trail, private, data):
    """Also when every later hash was made anew, so that the chain itself is whole."""
    good = trail.with_name("good")
    if not good.exists():
        write(good, 12)
        make_checkpoint(good, private, now_ns=NOW)
        write(good, 6)
        make_checkpoint(good, private, now_ns=NOW)
        write(good, 3)
    shutil.rmtree(trail, ignore_errors=True)
    shutil.copytree(good, trail)
    uid = uid_of(good)
    kept = [one.checkpoint for one in read_signed(good, uid, verifier_key(private, uid))]
    records = [unseal(line) for line in lines_of(good)]
    place = data.draw(st.integers(0, kept[1].size - 1))
    edit = data.draw(st.sampled_from(["change", "delete", "insert", "swap", "cut"]))
    bodies = [(one.event, dict(one.fields)) for one in records]
    if edit == "change":
        bodies[place][1]["number"] = 999
    elif edit == "delete":
        del bodies[place]
    elif edit == "insert":
        bodies.insert(place, bodies[0])
    elif edit == "swap":
        bodies[place], bodies[place - 1] = bodies[place - 1], bodies[place]
    else:
        del bodies[place:]
    rewritten, prev = [], GENESIS
    for seq, (event, fields) in enumerate(bodies, 1):
        sealed = seal(
            chain_uid=uid,
            seq=seq,
            prev=prev,
            event=event,
            fields={"number": fields.get("number", 0)},
            time=rfc3339(NOW + seq),
            time_ns=NOW + seq,
            event_id="0" * 32,
        )
        rewritten.append(sealed.line)
        prev = sealed.hash
    find(trail)[0].path.write_bytes(b"".join(rewritten))
    if rewritten:
        assert verify_directory(trail).ok  # the chain alone shows nothing
    found = prove(trail, kept)
    assert not found.ok
    assert any(fit in {Fit.DIFFERS, Fit.CUT} for _, fit in found.fits)


def test_l_3_a_checkpoint_of_another_installation_is_refused(trail, private, tmp_path):
    """Another key of the same name, and another trail's."""
    write(trail, 5)
    signed = make_checkpoint(trail, private, now_ns=NOW)
    (tmp_path / "kept").write_text(signed.note)
    other = signing_key(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="can't be trusted"):
        read_kept(tmp_path / "kept", verifier_key(other, uid_of(trail)))
    with pytest.raises(ConfigurationError, match="can't be trusted"):
        read_kept(tmp_path / "kept", verifier_key(private, "0" * 32))


def test_l_3_two_histories_can_not_both_be_right(trail, private, tmp_path):
    """A copy that goes on differently has other roots: one of the two contradicts a kept checkpoint."""
    write(trail, 5)
    shutil.copytree(trail, tmp_path / "fork")
    write(trail, 5)
    signed = make_checkpoint(trail, private, now_ns=NOW)
    write(tmp_path / "fork", 7)
    assert prove(trail, [signed.checkpoint]).ok
    assert not prove(tmp_path / "fork", [signed.checkpoint]).ok


def test_several_notes_in_one_file(trail, private):
    """As they are appended; blank lines between them don't matter."""
    notes = []
    for _ in range(3):
        write(trail, 2)
        notes.append(make_checkpoint(trail, private, now_ns=NOW).note)
    assert split_notes("".join(notes)) == notes
    assert split_notes("\n\n".join(notes)) == notes


def test_an_empty_trail_has_nothing_to_sign(trail, private):
    """It says so."""
    trail.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="no record"):
        make_checkpoint(trail, private, now_ns=NOW)


def test_the_signing_key_is_private_and_stays(tmp_path):
    """Made once, mode 0600; a damaged one is an error, never a new key."""
    first = signing_key(tmp_path)
    assert verifier_key(first, "u") == verifier_key(signing_key(tmp_path), "u")
    path = tmp_path / checkpoints.KEY_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="damaged"):
        signing_key(tmp_path)
