"""What may be packed and what may be removed without breaking the proof of the rest.

Only closed files are touched: all but the newest. Records stay as they are: a packed file holds the same lines.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import os
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safellm._core import note
from safellm._core.merkle import Tree
from safellm._core.note import Checkpoint, MalformedNote
from safellm._core.record import BadRecord, Unsealed, rfc3339, unseal
from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.journal.checkpoints import leaf_hashes, read_signed, verifier_key
from safellm.stores.journal.files import (
    TrailFile,
    find,
    last_record,
    lines,
    open_trail,
    size_of,
    snapshot,
    verify_directory,
)
from safellm.stores.journal.proof import prove
from safellm.stores.journal.pruned import read_start, write_start

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed: how many files, and the number of the last record in them."""

    files: int
    through_seq: int


def pack(directory: Path) -> int:
    """Compress every closed file that isn't yet; returns how many. Safe at any moment, also beside writers.

    Raises:
        ConfigurationError: a file can't be read or written.
    """
    try:
        files = find(directory)
        if not files or files[-1].is_compressed:
            return 0
        if last_record(files[-1]) is None:
            files = files[:-1]  # just begun: who writes next looks for the head in the file before
        plain = [file for file in files[:-1] if not file.is_compressed]
        for file in plain:
            _pack(file)
        return len(plain)
    except OSError as error:
        raise _unusable(directory, error) from None


def prune(directory: Path, private: Ed25519PrivateKey, *, before_ns: int, now_ns: int) -> Pruned | None:
    """Remove the oldest files whose records are all older than a time; None when there is none.

    Before, the whole trail is checked, and a checkpoint must cover what goes. What is left is proved as before: see `pruned`.

    Args:
        directory: The trail.
        private: Signs the note of what was removed.
        before_ns: Unix time.
        now_ns: Unix time of now, for the note.

    Raises:
        ConfigurationError: the trail is broken, not signed far enough, or can't be changed.
    """
    checked = verify_directory(directory)
    if not checked.ok or checked.chain_uid is None:
        raise ConfigurationError(
            "Nothing is removed from a trail that is broken", remedy="See: safellm audit verify", where=str(directory)
        )
    try:
        going, last = _older(directory, before_ns)
        if last is None:
            return None
        key = verifier_key(private, checked.chain_uid)
        tree = _tree_through(directory, going[-1])
        try:
            points = [one.checkpoint for one in read_signed(directory, checked.chain_uid, key)]
        except MalformedNote as error:
            raise _unsigned(directory, f"Its checkpoints can't be trusted: {error}") from None
        if not points or max(one.size for one in points) < tree.size or not prove(directory, points).ok:
            raise _unsigned(directory, "No checkpoint covers the records that would be removed")
        point = Checkpoint(
            origin=key.name,
            size=tree.size,
            root=tree.root(),
            extra=(f"record {last.seq}", f"head {last.hash}", f"time {rfc3339(now_ns)}"),
        )
        text = note.sign_note(point.text(), key, private.sign)
        write_start(directory, checked.chain_uid, text=text, tree=tree, file=going[-1].index)
        for file in going:  # a crash in between leaves files that the note declares removed; nobody reads them
            file.path.unlink()
        durable.sync_folder(directory)
    except OSError as error:
        raise _unusable(directory, error) from None
    return Pruned(files=len(going), through_seq=last.seq)


def _pack(file: TrailFile) -> None:
    packed = file.path.with_name(file.name + ".gz")
    temporary = file.path.with_name(file.name + ".gz.new")
    descriptor = durable.open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(descriptor, "wb") as out, open_trail(file) as stream:
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as writer:
            while data := stream.read(_CHUNK):
                writer.write(data)
        out.flush()
        durable.sync(out.fileno())
    temporary.replace(packed)
    durable.sync_folder(file.path.parent)
    file.path.unlink()


def _older(directory: Path, before_ns: int) -> tuple[list[TrailFile], Unsealed | None]:
    """Return the oldest files whose last record is before a time, and that record."""
    start = read_start(directory)
    going: list[TrailFile] = []
    newest: Unsealed | None = None
    for file in find(directory)[:-1]:
        if start is not None and file.index <= start.file:
            file.path.unlink()  # left by a crash of an earlier run
            continue
        with open_trail(file) as stream:
            tail = deque(lines(stream, size=size_of(file, stream)), maxlen=1)
        try:
            # A fragment at the end belongs to the next file's first record: such a file stays.
            last = unseal(tail[0]) if tail else None
        except BadRecord:
            last = None
        if last is None or int(str(last.fields["time_ns"])) >= before_ns:
            break
        going.append(file)
        newest = last
    return going, newest


def _tree_through(directory: Path, through: TrailFile) -> Tree:
    start = read_start(directory)
    tree = Tree() if start is None else start.tree.copy()
    with ExitStack() as stack:
        for file, stream, size in snapshot(directory, stack):
            if file.index <= through.index:
                for hashed, _ in leaf_hashes(stream, 0, size):
                    tree.add_leaf(hashed)
    return tree


def _unsigned(directory: Path, what: str) -> ConfigurationError:
    return ConfigurationError(what, remedy="Sign the trail first: safellm audit checkpoint.", where=str(directory))


def _unusable(directory: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The audit trail can't be changed: {error.strerror}",
        remedy="Run this as the user who owns the trail.",
        where=str(error.filename or directory),
    )
