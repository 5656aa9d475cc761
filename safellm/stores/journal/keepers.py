"""Where copies of checkpoints are kept: a place that the one who could change the trail doesn't write to.

| place | what happens |
|---|---|
| an absolute path | the note is appended, and synced; another machine's disk, or one that is written once |
| `syslog` | one line to the system's log (journald or syslogd) |
| `logging` | one record of the logger `safellm.audit.checkpoint`, for whatever the program sends its logs to |
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final

from safellm.errors import ConfigurationError
from safellm.stores import durable

LOGGER: Final = "safellm.audit.checkpoint"
_WINDOW: Final = 64 * 1024  # a note has some 400 bytes
_SOCKETS: Final = ("/dev/log", "/var/run/syslog")


def is_place(place: str) -> bool:
    """Return whether checkpoints can be kept there: an absolute path or one of the names."""
    return place in {"syslog", "logging"} or Path(place).is_absolute()


def kept_last(place: str) -> str | None:
    """Return the last note that a file holds; None for a place that can't be asked, or holds none."""
    if not Path(place).is_absolute():
        return None
    from safellm.stores.journal.proof import split_notes  # noqa: PLC0415 - for `safellm doctor` only

    try:
        with Path(place).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _WINDOW))
            notes = split_notes(stream.read().decode("utf-8", "replace"))
    except OSError:
        return None
    return notes[-1] if notes else None


def keep(note: str, place: str) -> None:
    """Put a copy of a checkpoint in a place.

    Raises:
        ConfigurationError: it can't be kept there.
    """
    if not is_place(place):
        raise ConfigurationError(
            "Checkpoints can't be kept there", remedy="Give an absolute path, 'syslog' or 'logging'.", where=place
        )
    try:
        if place == "syslog":
            _to_syslog(note)
        elif place == "logging":
            logging.getLogger(LOGGER).info("%s", _one_line(note))
        else:
            _append(Path(place), note)
    except OSError as error:
        raise ConfigurationError(
            f"A checkpoint can't be kept ({error.strerror or type(error).__name__})",
            remedy="Mend the place, or take another one.",
            where=place,
        ) from None


def _append(path: Path, note: str) -> None:
    # Followed links and other owners are fine here: it is the person's own place, and the note is public.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        durable.write_all(descriptor, note.encode() + b"\n")
        durable.sync(descriptor)
    finally:
        os.close(descriptor)


def _to_syslog(note: str) -> None:
    from logging.handlers import SysLogHandler  # noqa: PLC0415 - only where it is used

    socket = next((one for one in _SOCKETS if Path(one).exists()), None)
    if sys.platform == "win32" or socket is None:
        raise OSError(0, "there is no syslog here")
    handler = SysLogHandler(address=socket)
    try:
        handler.emit(
            logging.makeLogRecord({"name": LOGGER, "levelno": logging.INFO, "msg": f"safellm: {_one_line(note)}"})
        )
    finally:
        handler.close()


def _one_line(note: str) -> str:
    return "checkpoint " + note.replace("\n", " | ")
