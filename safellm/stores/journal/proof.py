"""What kept checkpoints prove about a trail as it is now. Needs the files and the public key, nothing else."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from safellm._core import note
from safellm._core.merkle import Tree
from safellm._core.note import Checkpoint, MalformedNote, VerifierKey
from safellm._core.spoken import from_words
from safellm.errors import ConfigurationError
from safellm.stores.journal import keeper_postgres
from safellm.stores.journal.checkpoints import check_signature, leaf_hashes
from safellm.stores.journal.files import snapshot
from safellm.stores.journal.keepers import POSTGRES
from safellm.stores.journal.pruned import read_start

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z")
_LARGEST: Final = 16 * 1024 * 1024  # bytes of a file with kept checkpoints
_LOGGED: Final = re.compile(r"checkpoint (safellm-audit/[0-9a-f]{32} \| .*)")  # as `keepers` writes it to logs


class Fit(StrEnum):
    """How a checkpoint and the trail go together."""

    MATCHES = "matches"
    DIFFERS = "differs"  # a line at or before it is not the one that was signed
    CUT = "cut"  # the trail is shorter than it was
    PRUNED = "pruned"  # what it covers was removed on purpose; later ones prove the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found.

    Attributes:
        lines: How many whole lines the trail has.
        fits: Each checkpoint, by its size, and how it fits.
    """

    lines: int
    fits: tuple[tuple[Checkpoint, Fit], ...]

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts a checkpoint."""
        return all(fit in {Fit.MATCHES, Fit.PRUNED} for _, fit in self.fits)

    @property
    def proved(self) -> int:
        """Number of lines that a checkpoint proves."""
        return max((one.size for one, fit in self.fits if fit is Fit.MATCHES), default=0)

    @property
    def signed_at(self) -> str:
        """When the last of these lines was signed, as the checkpoint says; empty where it doesn't."""
        last = next((one for one, fit in self.fits if fit is Fit.MATCHES and one.size == self.proved), None)
        time = next((line[5:] for line in last.extra if line.startswith("time ")), "") if last is not None else ""
        return f"{time[:19].replace('T', ' ')} UTC" if _TIME.fullmatch(time) else ""

    def explain(self) -> str:
        """Return in plain words what is proved and what is not."""
        if not self.fits:
            return "No checkpoint was given: nothing is proved against somebody who wrote all records anew."
        wrong = [(one, fit) for one, fit in self.fits if fit not in {Fit.MATCHES, Fit.PRUNED}]
        if not wrong and not self.proved:
            return "Every checkpoint that was given covers nothing but records that were pruned: nothing is proved by them."
        if not wrong:
            left = self.lines - self.proved
            tail = "nothing came after them"
            if left:
                tail = "the last line is not" if left == 1 else f"the last {left} lines are not"
            when = f", last on {self.signed_at}" if self.signed_at else ""
            return f"Lines 1 to {self.proved} are those that were signed{when}; {tail}."
        first, fit = wrong[0]
        good = max((one.size for one, ok in self.fits if ok is Fit.MATCHES and one.size < first.size), default=0)
        if fit is Fit.CUT:
            return f"The trail had {first.size} lines when it was signed and has {self.lines}: its end was cut off."
        return (
            f"Something in lines {good + 1} to {first.size} is not what was signed; what comes later may not be either."
        )


def prove(directory: Path, kept: Iterable[Checkpoint]) -> Proof:
    """Compare a trail with checkpoints whose signatures were checked.

    Raises:
        ConfigurationError: the files can't be read.
    """
    points = sorted(kept, key=lambda one: one.size)
    wanted = {one.size for one in points}
    start = read_start(directory)
    tree = Tree() if start is None else start.tree.copy()
    pruned = tree.size
    roots: dict[int, bytes] = {tree.size: tree.root()}
    try:
        with ExitStack() as stack:
            for _, stream, size in snapshot(directory, stack):
                for hashed, _ in leaf_hashes(stream, 0, size):
                    tree.add_leaf(hashed)
                    if tree.size in wanted:
                        roots[tree.size] = tree.root()
    except OSError as error:
        raise ConfigurationError(
            f"The audit trail can't be read: {error.strerror}",
            remedy="Run this as the user who owns the trail.",
            where=str(error.filename or directory),
        ) from None
    return Proof(
        lines=tree.size,
        fits=tuple((one, Fit.PRUNED if one.size < pruned else _fit(one, roots)) for one in points),
    )


def read_kept(where: str | Path, key: VerifierKey) -> list[Checkpoint]:
    """Return the checkpoints that were kept.

    Args:
        where: A file of signed notes, one after the other; a log with checkpoints among its lines; a table, by its address.
        key: What they must be signed with.

    Raises:
        ConfigurationError: it can't be read, holds none, or one isn't signed with this key or is of another chain.
    """
    place, path = str(where), Path(where)
    if place.startswith(POSTGRES):
        return _opened(keeper_postgres.notes(place), key, place)
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _bad(place, f"can't be read ({what})") from None
    logged = [one.rstrip(" |").replace(" | ", "\n") + "\n" for one in _LOGGED.findall(text)]
    return _opened(logged or split_notes(text), key, place)


def read_words(text: str, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint that a person kept as words; who signed it was checked by that person.

    Raises:
        ConfigurationError: a word is wrong.
    """
    try:
        size, root = from_words(text)
    except ValueError as error:
        raise ConfigurationError(
            f"The words can't be read: {error}", remedy="Give them as they were printed, in quotation marks."
        ) from None
    return Checkpoint(origin=key.name, size=size, root=root)


def _opened(notes: list[str], key: VerifierKey, place: str) -> list[Checkpoint]:
    found = []
    try:
        for one in notes:
            point = note.read_checkpoint(note.open_note(one, key, check_signature))
            if point.origin != key.name:
                raise _bad(place, "holds a checkpoint of another trail")
            found.append(point)
    except MalformedNote as error:
        raise _bad(place, f"holds a note that can't be trusted: {error}") from None
    if not found:
        raise _bad(place, "holds no checkpoint")
    return found


def split_notes(text: str) -> list[str]:
    """Return the notes of a text: each ends with its signature lines, and blank lines may stand between them."""
    out: list[str] = []
    current: list[str] = []
    signed = False
    for line in text.splitlines(keepends=True):
        is_signature = line.startswith("\u2014 ")
        if signed and not is_signature:
            out.append("".join(current))
            current, signed = [], False
        if not current and not line.strip():
            continue
        current.append(line)
        signed = signed or is_signature
    if current:
        out.append("".join(current))
    return out


def _fit(point: Checkpoint, roots: dict[int, bytes]) -> Fit:
    root = roots.get(point.size)
    if root is None:
        return Fit.CUT
    return Fit.MATCHES if root == point.root else Fit.DIFFERS


def _bad(place: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The {'table' if place.startswith(POSTGRES) else 'file'} of checkpoints {what}",
        remedy="Give the notes as they were printed, and the right public key.",
        where=place,
    )
