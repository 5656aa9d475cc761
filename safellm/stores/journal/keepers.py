"""Where copies of checkpoints are kept: a place that the one who could change the trail doesn't write to.

| place | what happens |
|---|---|
| an absolute path | the note is appended, and synced; another machine's disk, or one that is written once |
| `syslog` | one line to the system's log (journald or syslogd) |
| `logging` | one record of the logger `safellm.audit.checkpoint`, for whatever the program sends its logs to |
| `otel` | one log record by the program's own OpenTelemetry provider |
| `postgresql://…` | a row of a table that takes no change; see `keeper_postgres` |
| `s3://…` | an object that is written once; see `keeper_s3` |
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safellm._core.origin import parse_origin
from safellm._version import __version__
from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.journal import keeper_postgres, keeper_s3

if TYPE_CHECKING:
    from safellm.stores.tls import Authorities

NAMES: Final = frozenset({"syslog", "logging", "otel"})
POSTGRES: Final = "postgresql://"
S3: Final = "s3://"
LOGGER: Final = "safellm.audit.checkpoint"
_PASSWORD: Final = re.compile(r"//[^/?#@]*:[^/?#@]*@|[?&]password=", re.IGNORECASE)
_REMEDY: Final = "Give an absolute path, 'syslog', 'logging', 'otel', postgresql://… or s3://…."
_WINDOW: Final = 64 * 1024  # a note has some 400 bytes
_SOCKETS: Final = ("/dev/log", "/var/run/syslog")


def is_place(place: str) -> bool:
    """Return whether checkpoints can be kept there: an absolute path, one of the names, or an address."""
    return place in NAMES or place.startswith((POSTGRES, S3)) or Path(place).is_absolute()


def check_place(place: str, allowed: Iterable[str]) -> None:
    """Check a place before anything is kept there.

    Args:
        place: Of `audit.checkpoint_to`.
        allowed: Origins of the policy, for buckets.

    Raises:
        ConfigurationError: it is none; the text isn't repeated, as it may hold a password.
    """
    if place.startswith(S3):
        bucket = keeper_s3.parse_place(place)
        if not bucket.origin.is_loopback and bucket.origin not in {parse_origin(text) for text in allowed}:
            raise ConfigurationError(
                f"{bucket.origin} is not one of egress.origins",
                remedy="List it there, so that checkpoints may go there.",
            )
    elif place.startswith(POSTGRES):
        if _PASSWORD.search(place):
            raise ConfigurationError(
                "An address of checkpoints may hold no password",
                remedy="Let libpq take it from PGPASSFILE or a service file: postgresql://user@host/database.",
            )
    elif not is_place(place):
        raise ConfigurationError("Checkpoints can't be kept there", remedy=_REMEDY)


def can_be_asked(place: str) -> bool:
    """Return whether it can be found out what is kept in a place."""
    return place.startswith(POSTGRES) or Path(place).is_absolute()


def kept_last(place: str) -> str | None:
    """Return the last note that a place holds; None for one that can't be asked, or holds none.

    Raises:
        ConfigurationError: a database can't be asked now.
    """
    if place.startswith(POSTGRES):
        return next(iter(keeper_postgres.notes(place, last=True)), None)
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


def keep(note: str, place: str, *, trust: Authorities | None = None) -> None:
    """Put a copy of a checkpoint in a place; `trust` says which authorities count for a bucket's server.

    Raises:
        ConfigurationError: it can't be kept there.
    """
    if not is_place(place):
        raise ConfigurationError("Checkpoints can't be kept there", remedy=_REMEDY, where=place)
    if place.startswith(POSTGRES):
        keeper_postgres.add(place, note)
        return
    try:
        if place == "syslog":
            _to_syslog(note)
        elif place == "logging":
            logging.getLogger(LOGGER).info("%s", _one_line(note))
        elif place == "otel":
            _to_otel(note)
        elif place.startswith(S3):
            keeper_s3.put(place, note, now_ns=time.time_ns(), trust=trust)
        else:
            _append(Path(place), note)
    except ConfigurationError as error:
        raise ConfigurationError(error.problem, remedy=error.remedy, where=place) from None
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


def _to_otel(note: str) -> None:
    try:
        from opentelemetry._logs import LogRecord, SeverityNumber, get_logger  # noqa: PLC0415 - an extra
    except ImportError:
        raise OSError(0, "OpenTelemetry is not installed: pip install 'safellm[otel]'") from None
    record = LogRecord(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body=_one_line(note),
        event_name=LOGGER,
        attributes={"safellm.checkpoint.note": note},
    )
    get_logger(LOGGER, __version__).emit(record)


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
