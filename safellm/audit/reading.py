"""Records of a trail as they stand, fast and without a check: for looking at them. What they prove, `verify` says."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from safellm.errors import ConfigurationError
from safellm.stores.journal.files import find, lines, open_trail, snapshot
from safellm.stores.journal.watching import parsed

_NAP_S: Final = 0.25


def records(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield every record from the oldest on; lines that are none are left out.

    Raises:
        ConfigurationError: the folder or a file of it can't be read.
    """
    try:
        with ExitStack() as stack:
            for _, stream, size in snapshot(directory, stack):
                for line in lines(stream, size=size):
                    record = parsed(line)
                    if record is not None:
                        yield record
    except OSError as error:
        raise ConfigurationError(
            f"The audit trail can't be read: {error.strerror}",
            remedy="Run this as the user who owns the trail.",
            where=str(error.filename or directory),
        ) from None


def follow(directory: Path, *, nap: Callable[[], None] = lambda: time.sleep(_NAP_S)) -> Iterator[dict[str, Any]]:
    """Yield records that are written from now on, across rotations; never ends.

    Args:
        directory: The folder; it may be empty yet.
        nap: Waits a moment; ends the walk by raising.
    """
    files = [file for file in find(directory) if not file.is_compressed]
    index, at = (files[-1].index, files[-1].path.stat().st_size) if files else (0, 0)
    while True:
        for file in find(directory):
            if file.index < index or file.is_compressed:
                continue
            if file.index > index:
                index, at = file.index, 0
            with open_trail(file) as stream:
                if os.fstat(stream.fileno()).st_size < at:
                    at = 0  # somebody cut it; `verify` tells
                stream.seek(at)
                while line := stream.readline():
                    if not line.endswith(b"\n"):
                        break  # being written
                    at += len(line)
                    record = parsed(line)
                    if record is not None:
                        yield record
        nap()
