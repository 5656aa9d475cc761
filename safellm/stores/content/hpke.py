"""Hybrid public key encryption, base mode, single shot: RFC 9180 with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305.

Whoever has the public key seals; only the private key opens. Written out here, because the oldest `cryptography` that safellm runs
with has the parts but not the whole; the tests hold the RFC's vectors, and newer releases' own HPKE against it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES: Final = 32
_VERSION: Final = b"HPKE-v1"
_KEM: Final = b"KEM\x00\x20"  # RFC 9180 7.1: DHKEM(X25519, HKDF-SHA256)
_SUITE: Final = b"HPKE\x00\x20\x00\x01\x00\x03"  # 5.1: this KEM, HKDF-SHA256, ChaCha20Poly1305
_BASE_MODE: Final = b"\x00"
_NONCE_BYTES: Final = 12
_NO_SALT: Final = b"\x00" * 32


class Unopened(ValueError):
    """What was sealed can't be opened: another key, or it was changed."""


def seal(public: bytes, text: bytes, *, info: bytes, aad: bytes, ephemeral: X25519PrivateKey | None = None) -> bytes:
    """Return the encapsulated key (32 bytes) and the sealed text.

    Args:
        public: X25519 public key.
        text: What only the private key's owner may read.
        info: What it is for; the same to open.
        aad: What it belongs to; the same to open.
        ephemeral: For tests with published vectors only.

    Raises:
        ValueError: the public key is no good.
    """
    own = ephemeral or X25519PrivateKey.generate()
    enc = own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(public))
    key, nonce = _schedule(_encapsulated(shared, enc + public), info)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, text, aad)


def open_sealed(private: X25519PrivateKey, sealed: bytes, *, info: bytes, aad: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        Unopened: it can't be opened with this key, or was changed.
    """
    enc, text = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
        key, nonce = _schedule(_encapsulated(shared, enc + private.public_key().public_bytes_raw()), info)
        return ChaCha20Poly1305(key).decrypt(nonce, text, aad)
    except (InvalidTag, ValueError):
        raise Unopened("it was sealed to another key, or changed") from None


def _encapsulated(shared: bytes, context: bytes) -> bytes:
    prk = _extract(_KEM, _NO_SALT, b"eae_prk", shared)
    return _expand(_KEM, prk, b"shared_secret", context, KEY_BYTES)


def _schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    context = (
        _BASE_MODE + _extract(_SUITE, _NO_SALT, b"psk_id_hash", b"") + _extract(_SUITE, _NO_SALT, b"info_hash", info)
    )
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, KEY_BYTES), _expand(
        _SUITE, secret, b"base_nonce", context, _NONCE_BYTES
    )


def _extract(suite: bytes, salt: bytes, label: bytes, text: bytes) -> bytes:
    mac = HMAC(salt, hashes.SHA256())
    mac.update(_VERSION + suite + label + text)
    return mac.finalize()


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + _VERSION + suite + label + info
    return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=labelled).derive(secret)
