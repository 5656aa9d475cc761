"""One walk over a trail that sums it up and checks it; over several processes where there are several files."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from safellm._core.note import MalformedNote
from safellm._core.record import GENESIS
from safellm._core.verify import verify
from safellm.audit.summary import Summary
from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.journal.checkpoints import KEY_NAME, checkpoint_file, read_signed, signing_key, verifier_key
from safellm.stores.journal.files import find, lines, read_end, snapshot, verify_directory
from safellm.stores.journal.proof import prove
from safellm.stores.journal.pruned import read_start

_FEW: Final = 2  # files; below, other processes cost more than they bring


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """What is known of a trail's wholeness, in words, and whether nothing speaks against it."""

    ok: bool
    chain: str
    signed: str
    head: str


def sum_up(directory: Path, state: Path, *, workers: int = 1) -> tuple[Summary, Integrity]:
    """Walk over a whole trail.

    Args:
        directory: Its folder.
        state: Folder of the signing key; without one nothing is said about checkpoints.
        workers: Processes. More than one needs a main module that can be imported again, as a command line has.

    Raises:
        ConfigurationError: it can't be read.
    """
    files = find(directory)
    if workers > 1 and len(files) >= _FEW:
        found = _apart(directory, state, workers)
        if found is not None:
            return found
    summary = Summary()
    checked = verify_directory(directory, each=summary.add)
    ok, signed = _signed(directory, state, checked.chain_uid)
    head = f"{checked.last_seq}:{checked.head}"
    chain = _unbroken(checked.first_seq or 0, checked.last_seq or 0) if checked.ok else checked.explain()
    return summary, Integrity(ok=checked.ok and ok, chain=chain, signed=signed, head=head)


def _apart(directory: Path, state: Path, workers: int) -> tuple[Summary, Integrity] | None:
    """Check each file in a process of its own, from where the file before ends; None if anything is not as it should be."""
    uid: str | None = None
    jobs: list[tuple[Path, str, int, int, str]] = []
    start = read_start(directory)
    seq, prev = (0, GENESIS) if start is None else (start.seq, start.hash)
    first = seq + 1
    with ExitStack() as stack:
        for file, stream, size in snapshot(directory, stack):
            if file.is_compressed:
                return None
            jobs.append((directory, file.name, size, seq + 1, prev))
            end = read_end(stream.fileno(), size, file.uid8)
            if end.last is None:
                return None
            seq, prev, uid = end.last.seq, end.last.hash, end.last.chain_uid
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        proof = pool.submit(_signed, directory, state, uid)
        parts = list(pool.map(_part, jobs))
        ok, signed = proof.result()
    if not all(sound and found_uid == uid for sound, found_uid, _ in parts):
        return None
    summary = Summary()
    for _, _, part in parts:
        summary.join(part)
    return summary, Integrity(ok=ok, chain=_unbroken(first, seq), signed=signed, head=f"{seq}:{prev}")


def _unbroken(first: int, last: int) -> str:
    return f"Records {first} to {last} are unbroken: each follows the one before by number and hash."


def _part(job: tuple[Path, str, int, int, str]) -> tuple[bool, str | None, Summary]:
    directory, name, size, start_seq, start_prev = job
    summary = Summary()
    with os.fdopen(durable.open_private(directory / name, os.O_RDONLY), "rb") as stream:
        found = verify([(name, lines(stream, size=size))], start_seq=start_seq, start_prev=start_prev, each=summary.add)
    return found.ok, found.chain_uid, summary


def _signed(directory: Path, state: Path, uid: str | None) -> tuple[bool, str]:
    if uid is None or not (state / KEY_NAME).exists() or not checkpoint_file(directory, uid).exists():
        return True, "No checkpoint was made: nothing is proved against somebody who wrote all records anew."
    try:
        points = [one.checkpoint for one in read_signed(directory, uid, verifier_key(signing_key(state), uid))]
    except (MalformedNote, ConfigurationError) as error:
        return False, f"The checkpoints beside the trail can't be trusted: {error}"
    found = prove(directory, points)
    return found.ok, found.explain()
