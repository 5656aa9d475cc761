"""The token under a grant: a macaroon, a chain of HMAC-SHA256 over a list of caveats.

Who holds one can add a caveat without asking anybody; nobody can take one out, since each signature is the key of the next.
Construction: Birgisson and others, "Macaroons: Cookies with Contextual Caveats for Decentralized Authorization in the Cloud"
(NDSS 2014); bytes: the version 2 binary format of libmacaroons, so that other implementations read and check them.
Only first-party caveats are read: a third-party caveat makes a token malformed.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace

_VERSION = 2
_END, _LOCATION, _IDENTIFIER, _SIGNATURE = 0, 1, 2, 6  # field types of the format
_GENERATOR = b"macaroons-key-generator".ljust(32, b"\0")
_DIGEST_BYTES = 32
_LARGEST = 16_384  # bytes of a token; a longer one is nobody's honest grant
_CONTINUES, _LOW_BITS, _VARINT_BYTES = 0x80, 0x7F, 4


class MalformedToken(ValueError):
    """The text is no token of this format. The message holds nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Macaroon:
    """One token. `signature` is what makes it valid, so it is in no `repr`."""

    location: bytes
    identifier: bytes
    caveats: tuple[bytes, ...]
    signature: bytes

    def __repr__(self) -> str:
        return f"Macaroon(caveats={len(self.caveats)})"


def mint(root: bytes, identifier: bytes, caveats: Iterable[bytes], *, location: bytes) -> Macaroon:
    """Return a token signed with a root key (32 random bytes)."""
    kept = tuple(caveats)
    return Macaroon(location=location, identifier=identifier, caveats=kept, signature=_chain(root, identifier, kept))


def extend(token: Macaroon, caveat: bytes) -> Macaroon:
    """Return the token with one more caveat; needs no key."""
    return replace(token, caveats=(*token.caveats, caveat), signature=_hmac(token.signature, caveat))


def is_signed_by(token: Macaroon, root: bytes) -> bool:
    """Return whether a root key made this token and nothing was changed or taken out since, in constant time."""
    return hmac.compare_digest(_chain(root, token.identifier, token.caveats), token.signature)


def encode(token: Macaroon) -> str:
    """Return the token as base64url without padding (RFC 4648, 5)."""
    out = bytearray([_VERSION])
    if token.location:
        _put(out, _LOCATION, token.location)
    _put(out, _IDENTIFIER, token.identifier)
    out.append(_END)
    for caveat in token.caveats:
        _put(out, _IDENTIFIER, caveat)
        out.append(_END)
    out.append(_END)
    _put(out, _SIGNATURE, token.signature)
    return base64.urlsafe_b64encode(bytes(out)).rstrip(b"=").decode("ascii")


def decode(text: str) -> Macaroon:
    """Return the token of a text; only the one text that `encode` gives for it is accepted.

    Raises:
        MalformedToken: it is anything else.
    """
    if len(text) > _LARGEST or not text.isascii():
        raise MalformedToken("the token is too long or not ASCII")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise MalformedToken("the token is not base64url") from None
    token = _read(data)
    if encode(token) != text:
        raise MalformedToken("the token is written in another way than its own")
    return token


def _read(data: bytes) -> Macaroon:
    if not data or data[0] != _VERSION:
        raise MalformedToken("the token is of another version")
    at, location = 1, b""
    kind, value, at = _field(data, at)
    if kind == _LOCATION:
        location = value
        kind, value, at = _field(data, at)
    if kind != _IDENTIFIER:
        raise MalformedToken("the token has no identifier")
    identifier, at = value, _end(data, at)
    caveats = []
    while data[at : at + 1] != b"\0":
        kind, value, at = _field(data, at)
        if kind != _IDENTIFIER:
            raise MalformedToken("the token has a caveat of an unknown form")
        caveats.append(value)
        at = _end(data, at)
    kind, signature, at = _field(data, at + 1)
    if kind != _SIGNATURE or len(signature) != _DIGEST_BYTES or at != len(data):
        raise MalformedToken("the token has no signature at its end")
    return Macaroon(location=location, identifier=identifier, caveats=tuple(caveats), signature=signature)


def _field(data: bytes, at: int) -> tuple[int, bytes, int]:
    kind, at = _number(data, at)
    length, at = _number(data, at)
    if length > len(data) - at:
        raise MalformedToken("the token is cut off")
    return kind, data[at : at + length], at + length


def _end(data: bytes, at: int) -> int:
    if data[at : at + 1] != b"\0":
        raise MalformedToken("the token has a section without an end")
    return at + 1


def _number(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < _CONTINUES:
        return data[at], at + 1  # as nearly all are
    value = 0
    for place in range(_VARINT_BYTES):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & _LOW_BITS) << (7 * place)
        if byte < _CONTINUES:
            return value, at + place + 1
    raise MalformedToken("the token holds a broken number")


def _put(out: bytearray, kind: int, value: bytes) -> None:
    out.append(kind)
    length = len(value)
    while length >= _CONTINUES:
        out.append(length & _LOW_BITS | _CONTINUES)
        length >>= 7
    out.append(length)
    out += value


def _chain(root: bytes, identifier: bytes, caveats: tuple[bytes, ...]) -> bytes:
    signature = _hmac(_hmac(_GENERATOR, root), identifier)
    for caveat in caveats:
        signature = _hmac(signature, caveat)
    return signature


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
