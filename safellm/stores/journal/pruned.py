"""Where a trail begins whose oldest files were removed: `pruned-<uid8>.json`, a signed checkpoint of exactly what is gone.

It holds the peaks of the tree over the removed lines, so that every later checkpoint, also one that was kept elsewhere before, can
still be compared with what is left; and the number and hash of the last removed record, so that the chain goes on from there.
Whoever wrote the file anew would need the signing key, or peaks that fold to the roots of checkpoints he doesn't have.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safellm._core import note
from safellm._core.merkle import Tree
from safellm._core.note import Checkpoint, MalformedNote
from safellm.errors import ConfigurationError
from safellm.stores import durable

_NAME: Final = re.compile(r"pruned-[0-9a-f]{8}\.json")
_LARGEST: Final = 64 * 1024
_EXTRA: Final = re.compile(r"record ([1-9][0-9]{0,15})\nhead ([0-9a-f]{64})(?:\n|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The place from which on a trail is there.

    Attributes:
        seq: Number of the last record that was removed.
        hash: Its hash.
        file: Number of the last file that was removed.
        tree: The tree over all removed lines.
        note: The signed text; the signature is not checked here.
    """

    seq: int
    hash: str
    file: int
    tree: Tree
    note: str


def start_file(directory: Path, uid: str) -> Path:
    """Return the file that says where the rest of a chain begins."""
    return directory / f"pruned-{uid[:8]}.json"


def read_start(directory: Path) -> Start | None:
    """Return where a trail begins; None when nothing was removed.

    Raises:
        ConfigurationError: the file can't be read or contradicts itself.
    """
    try:
        names = [name for name in os.listdir(directory) if _NAME.fullmatch(name)]  # noqa: PTH208 - names only
    except OSError:
        return None  # whoever reads the folder itself says why
    if not names:
        return None
    path = directory / min(names)
    try:
        return _parse(durable.read_private(path, _LARGEST))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, MalformedNote):
        raise ConfigurationError(
            "The note of what was pruned from the audit trail can't be trusted",
            remedy="Put the file back from a copy; the removed records can't be vouched for without it.",
            where=str(path),
        ) from None


def write_start(directory: Path, uid: str, *, text: str, tree: Tree, file: int) -> None:
    """Write the note, in one step: it is there whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    path = start_file(directory, uid)
    peaks = [base64.b64encode(peak).decode() for peak in tree.peaks]
    data = json.dumps({"note": text, "peaks": peaks, "file": file}).encode() + b"\n"
    durable.replace(path, data)


def _parse(data: bytes) -> Start:
    entry: dict[str, Any] = json.loads(data)
    text, file = str(entry["note"]), entry["file"]
    point: Checkpoint = note.read_checkpoint(text.partition("\n\n")[0] + "\n")
    tree = Tree(point.size, tuple(base64.b64decode(one, validate=True) for one in entry["peaks"]))
    extra = _EXTRA.match("\n".join(point.extra))
    if extra is None or type(file) is not int or len(tree.peaks) != tree.size.bit_count() or tree.root() != point.root:
        raise ValueError
    return Start(seq=int(extra[1]), hash=extra[2], file=file, tree=tree, note=text)
