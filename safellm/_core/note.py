"""Signed notes and checkpoints: a few lines of text that say "this log has N records with this root", and who says so.

Formats: C2SP signed-note and C2SP tlog-checkpoint, so that tools for transparency logs read and check them. Signatures are
Ed25519 (RFC 8032). Signing and checking are done by functions that come in: the core loads no cryptography.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

_ED25519 = b"\x01"  # the algorithm's byte in key ids and verifier keys
_MARK = "\u2014 "  # em dash and blank begin a signature line
_KEY_BYTES, _SIGNATURE_BYTES, _ID_BYTES, _HASH_BYTES = 32, 64, 4, 32
_LARGEST = 64 * 1024  # characters of a note that is read
_NAME = re.compile(r"[^\s+]{1,255}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")

Sign = Callable[[bytes], bytes]
Check = Callable[[bytes, bytes, bytes], bool]  # (public key, signature, message)


class MalformedNote(ValueError):
    """The text is no note, checkpoint or verifier key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key and the name under which it signs."""

    name: str
    public: bytes  # 32 bytes

    @property
    def id(self) -> bytes:
        """Four bytes that say which key of a name was used."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_b64(_ED25519 + self.public)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log looked like at one moment.

    Attributes:
        origin: Which log: `safellm/` and the chain's uid.
        size: Number of records.
        root: Root hash over their lines (`merkle.py`), 32 bytes.
        extra: More lines, such as the chain's head and the time.
    """

    origin: str
    size: int
    root: bytes
    extra: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the lines that are signed."""
        return "\n".join((self.origin, str(self.size), _b64(self.root), *self.extra, ""))


def read_key(text: str) -> VerifierKey:
    """Return a verifier key from its text, `name+id+key`.

    Raises:
        MalformedNote: it is none, or its id isn't the key's.
    """
    name, _, rest = text.strip().partition("+")
    found, _, encoded = rest.partition("+")
    raw = _raw(encoded)
    if not _NAME.fullmatch(name) or raw is None or len(raw) != 1 + _KEY_BYTES or raw[:1] != _ED25519:
        raise MalformedNote("this is no verifier key")
    key = VerifierKey(name=name, public=raw[1:])
    if key.id.hex() != found:
        raise MalformedNote("the key's id does not belong to it")
    return key


def sign_note(text: str, key: VerifierKey, sign: Sign) -> str:
    """Return the text with a signature of this key.

    Raises:
        MalformedNote: the text doesn't end in a line end, or has characters that a note can't have.
    """
    _check_text(text)
    signature = sign(text.encode())
    return f"{text}\n{_MARK}{key.name} {_b64(key.id + signature)}\n"


def open_note(note: str, key: VerifierKey, check: Check) -> str:
    """Return the text of a note that this key signed.

    Raises:
        MalformedNote: it is no note, or no valid signature of this key is on it. Signatures of other keys are passed over.
    """
    if len(note) > _LARGEST or not note.endswith("\n"):
        raise MalformedNote("this is no signed note")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank:
        raise MalformedNote("the note has no signature")
    text += "\n"
    _check_text(text)
    good = False
    for line in signatures.removesuffix("\n").split("\n"):
        name, raw = _signature(line)
        if name != key.name or raw[:_ID_BYTES] != key.id:
            continue
        if len(raw) != _ID_BYTES + _SIGNATURE_BYTES or not check(key.public, raw[_ID_BYTES:], text.encode()):
            raise MalformedNote("the note's signature is not right")
        good = True
    if not good:
        raise MalformedNote("the note is not signed with this key")
    return text


def read_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint of a note's text.

    Raises:
        MalformedNote: it is none.
    """
    origin, *rest = text.removesuffix("\n").split("\n")
    size, root, extra = (rest[0], rest[1], tuple(rest[2:])) if len(rest) >= 2 else ("", "", ())  # noqa: PLR2004 - size, root
    raw = _raw(root)
    if not origin or not _SIZE.fullmatch(size) or raw is None or len(raw) != _HASH_BYTES or not all(extra):
        raise MalformedNote("the note is no checkpoint")
    found = Checkpoint(origin=origin, size=int(size), root=raw, extra=extra)
    if found.text() != text:
        raise MalformedNote("the checkpoint is written in another way than its own")
    return found


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    raw = _raw(encoded)
    if not line.startswith(_MARK) or not _NAME.fullmatch(name) or raw is None or len(raw) <= _ID_BYTES:
        raise MalformedNote("the note has a line that is no signature")
    return name, raw


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(one) < ord(" ") and one != "\n" for one in text):
        raise MalformedNote("a note's text ends in a line end and has no control characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MalformedNote("a note's text is UTF-8") from None


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _raw(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return raw if _b64(raw) == text else None
