"""Addresses of crypto currencies, by their checksums."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib

from safellm._core.detection.context import Spans, is_glued, words_of

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_PAYLOAD = 25  # bytes: version, hash, checksum
_CHECKSUMS = (1, 0x2BC830A3)  # BIP 173, BIP 350
_AROUND = 96  # characters on either side that may say that it is a record of a chain
_RECORDS = frozenset(
    {"nonce", "tx", "txid", "txhash", "block", "blockhash", "gas", "gasprice", "bytecode", "abi", "topics", "log"}
)
_LEAST_DISTINCT = 6  # characters; 0x000...dead has fewer


def base58(text: str, start: int, end: int) -> Spans:
    """Accept 25 bytes in base 58 whose last four are the double SHA-256 of the others (Bitcoin, Litecoin, Dogecoin, Tron)."""
    value = 0
    for character in text[start:end]:
        value = value * 58 + _BASE58.index(character)
    if value >> (8 * _PAYLOAD):
        return ()
    data = value.to_bytes(_PAYLOAD, "big")
    digest = hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()
    return ((start, end),) if digest[:4] == data[-4:] and not is_glued(text, start, end) else ()


def bech32(text: str, start: int, end: int) -> Spans:
    """Accept a segwit address, or one of another chain, with the checksum of BIP 173 or BIP 350."""
    prefix, _, data = text[start:end].lower().rpartition("1")
    check = 1
    for value in [
        *(ord(letter) >> 5 for letter in prefix),
        0,
        *(ord(letter) & 31 for letter in prefix),
        *map(_BECH32.find, data),
    ]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ max(value, 0)
        for bit, generator in enumerate(_GENERATORS):
            check ^= generator if top >> bit & 1 else 0
    valid = check in _CHECKSUMS and all(letter in _BECH32 for letter in data)
    return ((start, end),) if valid and not is_glued(text, start, end) else ()


def ethereum(text: str, start: int, end: int) -> Spans:
    """Accept 20 bytes after 0x that aren't mostly one digit."""
    digits = text[start + 2 : end]
    if len(set(digits.lower())) < _LEAST_DISTINCT or is_glued(text, start, end):
        return ()
    # In one case it has no checksum (EIP-55), and records of a chain are full of such numbers.
    around = text[max(0, start - _AROUND) : start] + " " + text[end : end + _AROUND]
    plain = digits.lower() == digits or digits.upper() == digits
    return () if plain and not _RECORDS.isdisjoint(words_of(around)) else ((start, end),)
