"""Checkpoints of a trail: signed notes that say how many lines it had, and their root hash.

A copy of one that is kept elsewhere proves everything before it: who changes, inserts, deletes or cuts off a line at or before a
kept checkpoint is found with the public key alone, also if every hash after it was made anew (promise P5; THREATS L.2, L.3).

`checkpoints-<uid8>.jsonl` in the trail's folder holds them, one JSON object a line: the note, and what is needed to go on from
there without reading older files: the peaks of the tree (they fold to the signed root) and the place in the files.
A line of the trail counts when its line end is there; a leaf of the tree is the line without it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from safellm._core import note
from safellm._core.merkle import Tree
from safellm._core.note import Checkpoint, MalformedNote, VerifierKey
from safellm._core.record import MAX_LINE_BYTES, BadRecord, Unsealed, rfc3339, unseal
from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.journal.files import TrailFile, lines, snapshot
from safellm.stores.journal.pruned import read_start

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOCK_NAME: Final = "checkpoints.lock"
KEY_NAME: Final = "audit-signing.key"
_SEED_BYTES: Final = 32
_HASH_BYTES: Final = 32
_LEAF: Final = b"\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A checkpoint and where it stands.

    Attributes:
        note: The signed text; a copy of it elsewhere is the proof.
        tree: The tree at that moment.
        file: Number of the trail's file that was read last, and how far.
    """

    note: str
    checkpoint: Checkpoint
    tree: Tree
    file: int
    offset: int


def checkpoint_file(directory: Path, uid: str) -> Path:
    """Return the file that holds a chain's checkpoints."""
    return directory / f"checkpoints-{uid[:8]}.jsonl"


def origin_of(uid: str) -> str:
    """Return the name of a chain in checkpoints, and of the key that signs them."""
    return f"safellm-audit/{uid}"


def signing_key(state: Path) -> Ed25519PrivateKey:
    """Return this installation's key, made on first use: a private file in the state folder.

    Raises:
        ConfigurationError: the folder can't be written, or the file is no key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - when it is used

    path = state / KEY_NAME
    try:
        durable.private_folder(state)
        seed = durable.private_key(path, _SEED_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"The signing key of the audit trail can't be used ({error.strerror})",
            remedy="Mend the permissions of the state folder.",
            where=str(path),
        ) from None
    except ValueError:
        raise ConfigurationError(
            "The signing key of the audit trail is damaged",
            remedy="Put it back from a copy; without one, remove the file: later checkpoints have another key then.",
            where=str(path),
        ) from None
    return Ed25519PrivateKey.from_private_bytes(seed)


def verifier_key(private: Ed25519PrivateKey, uid: str) -> VerifierKey:
    """Return what others check a chain's checkpoints with; its text is safe to publish."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    return VerifierKey(name=origin_of(uid), public=private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def check_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether an Ed25519 signature is right (RFC 8032)."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def make_checkpoint(directory: Path, private: Ed25519PrivateKey, *, now_ns: int) -> Signed | None:
    """Sign what the trail is now; None when nothing was added since the last time.

    It goes on from the last checkpoint, whose signature is checked first: what was signed once is never signed differently.

    Raises:
        ConfigurationError: there is no record, the last checkpoint isn't ours, or files can't be read or written.
    """
    try:
        lock = durable.open_private(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT)
        try:
            durable.lock(lock)
            with ExitStack() as stack:
                return _make(directory, snapshot(directory, stack), private, now_ns)
        finally:
            os.close(lock)
    except OSError as error:
        raise ConfigurationError(
            f"The audit trail can't be signed: {error.strerror}",
            remedy="Free space there where none is left; else run this as the user who owns the trail.",
            where=str(error.filename or directory),
        ) from None


def read_signed(directory: Path, uid: str, key: VerifierKey) -> list[Signed]:
    """Return the checkpoints that stand beside the trail, checked with the key.

    Raises:
        MalformedNote: one isn't signed with this key, is of another log, or doesn't belong to its tree.
    """
    path = checkpoint_file(directory, uid)
    if not path.exists():
        return []
    found = []
    with os.fdopen(durable.open_private(path, os.O_RDONLY), "rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break  # the last one was cut off by a crash; the next one stands in its place
            found.append(_parse(line, key))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a trail is signed: its last checkpoint, the time it bears (RFC 3339), and how many lines came after it."""

    last: Signed | None
    time: str
    lines_after: int


def standing(directory: Path, uid: str, key: VerifierKey) -> Standing:
    """Return how far a trail is signed; reads only what came after the last checkpoint.

    Raises:
        MalformedNote: the last checkpoint isn't one of this key and trail.
        OSError: a file can't be read.
    """
    last = _last(directory, uid, key)
    file_of, offset = (last.file, last.offset) if last else (0, 0)
    count = 0
    with ExitStack() as stack:
        for file, stream, size in snapshot(directory, stack):
            if file.index >= file_of:
                count += sum(1 for _ in leaf_hashes(stream, offset if file.index == file_of else 0, size))
    time = next((one[5:] for one in last.checkpoint.extra if one.startswith("time ")), "") if last else ""
    return Standing(last=last, time=time, lines_after=count)


def leaf_hashes(stream: BinaryIO, start: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield the leaf hash of each whole line between two places of a file, and where the line ends."""
    stream.seek(start)
    at, hasher = start, hashlib.sha256(_LEAF)
    while at < size:
        piece = stream.readline(min(size - at, MAX_LINE_BYTES))
        if not piece:
            return
        at += len(piece)
        if piece.endswith(b"\n"):
            hasher.update(piece[:-1])
            yield hasher.digest(), at
            hasher = hashlib.sha256(_LEAF)
        else:
            hasher.update(piece)


def _make(
    directory: Path, files: list[tuple[TrailFile, BinaryIO, int]], private: Ed25519PrivateKey, now_ns: int
) -> Signed | None:
    newest = _last_record(files)
    if newest is None:
        raise ConfigurationError("There is no record to sign", remedy="Make a call first.", where=str(directory))
    key = verifier_key(private, newest.chain_uid)
    try:
        last = _last(directory, newest.chain_uid, key)
    except MalformedNote as error:
        raise ConfigurationError(
            f"The last checkpoint is not one of this installation: {error}",
            remedy="Check the trail with a checkpoint that you kept elsewhere: safellm audit verify --checkpoint FILE.",
            where=str(checkpoint_file(directory, newest.chain_uid)),
        ) from None
    start = read_start(directory)
    if last is not None:
        tree, index, offset = last.tree.copy(), last.file, last.offset
    elif start is not None:
        tree, index, offset = start.tree.copy(), start.file + 1, 0
    else:
        tree, index, offset = Tree(), 0, 0
    for file, stream, size in files:
        if file.index < index:
            continue
        begin = offset if file.index == index else 0
        index, offset = file.index, begin
        for hashed, end in leaf_hashes(stream, begin, size):
            tree.add_leaf(hashed)
            offset = end
        if offset > begin and not file.is_compressed:
            _onto_disk(file.path)  # what is signed must not be lost with the power: the trail would look cut
    if last is not None and tree.size == last.tree.size:
        return None
    point = Checkpoint(
        origin=key.name,
        size=tree.size,
        root=tree.root(),
        extra=(f"record {newest.seq}", f"head {newest.hash}", f"time {rfc3339(now_ns)}"),
    )
    signed = Signed(
        note=note.sign_note(point.text(), key, private.sign), checkpoint=point, tree=tree, file=index, offset=offset
    )
    _append(checkpoint_file(directory, newest.chain_uid), signed)
    return signed


def _onto_disk(path: Path) -> None:
    descriptor = durable.open_private(path, os.O_RDWR)  # Windows syncs no file that was opened for reading only
    try:
        durable.sync(descriptor)
    finally:
        os.close(descriptor)


def _last(directory: Path, uid: str, key: VerifierKey) -> Signed | None:
    path = checkpoint_file(directory, uid)
    if not path.exists():
        return None
    with os.fdopen(durable.open_private(path, os.O_RDONLY), "rb") as stream:
        whole = [line for line in stream if line.endswith(b"\n")]
    return _parse(whole[-1], key) if whole else None


def _append(path: Path, signed: Signed) -> None:
    line = json.dumps(
        {
            "note": signed.note,
            "peaks": [base64.b64encode(peak).decode() for peak in signed.tree.peaks],
            "file": signed.file,
            "offset": signed.offset,
        }
    )
    descriptor = durable.open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and durable.read_at(descriptor, 1, size - 1) != b"\n"
        if torn:  # a crash left half a line: it was never told to anybody
            whole = durable.read_range(descriptor, 0, size).rpartition(b"\n")
            os.ftruncate(descriptor, len(whole[0]) + len(whole[1]))
        durable.write_all(descriptor, line.encode() + b"\n")
        durable.sync(descriptor)
    finally:
        os.close(descriptor)
    durable.sync_folder(path.parent)


def _parse(line: bytes, key: VerifierKey) -> Signed:
    try:
        entry: dict[str, Any] = json.loads(line)
        text, file, offset = entry["note"], entry["file"], entry["offset"]
        peaks = tuple(base64.b64decode(one, validate=True) for one in entry["peaks"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedNote("a line of the checkpoints can't be read") from None
    if not isinstance(text, str) or type(file) is not int or type(offset) is not int or file < 0 or offset < 0:
        raise MalformedNote("a line of the checkpoints can't be read")
    point = note.read_checkpoint(note.open_note(text, key, check_signature))
    tree = Tree(point.size, peaks)
    fits = len(peaks) == point.size.bit_count() and all(len(peak) == _HASH_BYTES for peak in peaks)
    if point.origin != key.name or not fits or tree.root() != point.root:
        raise MalformedNote("a checkpoint does not belong to its tree")
    return Signed(note=text, checkpoint=point, tree=tree, file=file, offset=offset)


def _last_record(files: list[tuple[TrailFile, BinaryIO, int]]) -> Unsealed | None:
    """Return the last sound record, looking from the end."""
    for file, stream, size in reversed(files):
        if file.is_compressed:
            last: list[bytes] = list(deque(lines(stream, size=size), maxlen=1))
        else:
            start = max(0, size - MAX_LINE_BYTES)
            stream.seek(start)
            last = stream.read(size - start).splitlines(keepends=True)
        for line in reversed(last):
            try:
                return unseal(line)
            except BadRecord:
                continue
    return None
