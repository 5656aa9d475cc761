"""Grants of this installation: the root key that signs them, what was issued, and what was revoked.

Two private files in the state folder. `grants.key`: 32 random bytes; without it no grant can be made or checked.
`grants.jsonl`: one line for each grant that was issued or revoked, without the grant itself: who reads it can use none of them.
A revoked number is refused from the next attempt on, in every process: the file is looked at again whenever it changed.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from safellm._core import grant as grants
from safellm._core.effects import JSON
from safellm._core.grant import Grant, InvalidGrant
from safellm.errors import ConfigurationError
from safellm.stores import durable

KEY_NAME: Final = "grants.key"
LIST_NAME: Final = "grants.jsonl"
_KEY_BYTES: Final = 32
_NUMBER_BYTES: Final = 12
_LARGEST: Final = 64 * 1024 * 1024
LONGEST_S: Final = 90 * 86_400  # no immortal ones: what is needed for longer is issued again


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What is known about a grant.

    Attributes:
        id: Its number.
        note: What it is for, as a person wrote it.
        caveats: As it was issued; its holders may have narrowed it.
        revoked_s: When it was revoked, Unix time in seconds, or None.
    """

    id: str
    issued_s: int
    note: str
    caveats: tuple[tuple[str, JSON], ...]
    revoked_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGrant:
    """The credential of a client.

    Attributes:
        key: Name of the key that it stands for.
        source: Tells whether it was revoked.
        uid: The user who asks; None: the one of this process.
    """

    grant: Grant
    key: str
    source: Grants
    uid: int | None = None

    def problem(self) -> str:
        """Return why it holds no more, or an empty text. Looks at a file's dates, and reads it only when it changed."""
        try:
            self.source.check(self.grant.id)
        except InvalidGrant as error:
            return str(error)
        except ConfigurationError as error:
            return error.problem
        return ""


class Grants:
    """The grants of one state folder."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, Issued] = {}

    def issue(self, caveats: Mapping[str, JSON], *, note: str, now_s: int) -> Grant:
        """Make a grant and note that it was made.

        Raises:
            ConfigurationError: the caveats aren't whole, it would last for more than 90 days or has ended, or the folder can't be
                written.
        """
        made = grants.issue(self._root(create=True), os.urandom(_NUMBER_BYTES).hex(), caveats)
        end = made.expires_s
        if end is None or not now_s < end <= now_s + LONGEST_S:
            raise ConfigurationError(
                "A grant ends within 90 days", remedy="Give a shorter time; a new one can be made when it is needed."
            )
        self._append({"id": made.id, "issued": now_s, "note": note, "caveats": [list(one) for one in made.caveats]})
        return made

    def verify(self, text: str) -> Grant:
        """Return the grant of a text that was made here and is not revoked.

        Raises:
            InvalidGrant: it isn't.
            ConfigurationError: the files can't be read.
        """
        root = self._root(create=False)
        if root is None:
            raise InvalidGrant("The grant was not made here: this installation has made none")
        found = grants.verify(text, root)
        self.check(found.id)
        return found

    def check(self, number: str) -> None:
        """Refuse a grant that was revoked, or that the list doesn't know.

        Raises:
            InvalidGrant: it is.
            ConfigurationError: the list can't be read.
        """
        known = self._read().get(number)
        if known is None:
            raise InvalidGrant("The grant is not in the list of this installation")
        if known.revoked_s is not None:
            raise InvalidGrant("The grant was revoked")

    def revoke(self, number: str, *, now_s: int) -> bool:
        """Refuse a grant, and every one that was narrowed from it, from now on; False when it is unknown or was revoked before."""
        known = self._read().get(number)
        if known is None or known.revoked_s is not None:
            return False
        self._append({"id": number, "revoked": now_s})
        return True

    def all(self) -> list[Issued]:
        """Return every grant that was issued, the newest last."""
        return sorted(self._read().values(), key=lambda one: (one.issued_s, one.id))

    def _read(self) -> dict[str, Issued]:
        path = self._state / LIST_NAME
        try:
            found = path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._bad(error.strerror or "") from None
        identity = (found.st_ino, found.st_size, found.st_mtime_ns)
        with self._lock:
            if identity == self._seen:
                return self._known
        try:
            raw = durable.read_private(path, _LARGEST)
        except OSError as error:
            raise self._bad(error.strerror or "") from None
        known = self._parse(raw)
        with self._lock:
            self._seen, self._known = identity, known
        return known

    def _parse(self, raw: bytes) -> dict[str, Issued]:
        known: dict[str, Issued] = {}
        for line in raw.splitlines():
            try:
                entry: dict[str, Any] = json.loads(line)
                number = entry["id"]
                if "revoked" in entry:
                    known[number] = replace(known[number], revoked_s=int(entry["revoked"]))
                else:
                    caveats = tuple((str(name), value) for name, value in entry["caveats"])
                    note = str(entry["note"])
                    known[number] = Issued(id=str(number), issued_s=int(entry["issued"]), note=note, caveats=caveats)
            except (ValueError, KeyError, TypeError, RecursionError):
                # A line that is lost could be a revocation: nothing is granted on such a list.
                raise self._bad("a line of it is damaged") from None
        return known

    def _root(self, *, create: bool) -> Any:
        path = self._state / KEY_NAME
        try:
            if create:
                durable.private_folder(self._state)
            return durable.private_key(path, _KEY_BYTES, make=create)
        except FileNotFoundError:
            return None
        except ValueError:
            raise self._bad("the key is damaged") from None
        except OSError as error:
            raise self._bad(error.strerror or "") from None

    def _append(self, entry: dict[str, object]) -> None:
        try:
            with self._held():
                descriptor = durable.open_private(self._state / LIST_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND)
                try:
                    size = os.fstat(descriptor).st_size
                    if size and durable.read_at(descriptor, 1, size - 1) != b"\n":
                        raise self._bad("its last line is not whole")
                    durable.write_all(descriptor, json.dumps(entry).encode() + b"\n")
                    durable.sync(descriptor)
                finally:
                    os.close(descriptor)
            durable.sync_folder(self._state)
        except OSError as error:
            raise self._bad(error.strerror or "") from None

    @contextmanager
    def _held(self) -> Iterator[None]:
        descriptor = durable.open_private(self._state / "grants.lock", os.O_RDWR | os.O_CREAT)
        try:
            durable.lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _bad(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"The grants of this installation can't be used: {why}",
            remedy=f"Mend the files, or remove {KEY_NAME} and {LIST_NAME} together: all grants end then.",
            where=str(self._state),
        )
