"""Sealing to a public key, by RFC 9180."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from safellm.stores.content.hpke import Unopened, open_sealed, seal

# RFC 9180, A.2.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, first text
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
EPHEMERAL = bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
RECEIVER = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
ENC = bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
TEXT = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
AAD = bytes.fromhex("436f756e742d30")
SEALED = bytes.fromhex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")

PRIVATE = X25519PrivateKey.from_private_bytes(RECEIVER)
PUBLIC = PRIVATE.public_key().public_bytes_raw()


def test_published_vector_is_met():
    """RFC 9180 A.2.1.1, both ways."""
    ephemeral = X25519PrivateKey.from_private_bytes(EPHEMERAL)
    assert seal(PUBLIC, TEXT, info=INFO, aad=AAD, ephemeral=ephemeral) == ENC + SEALED
    assert open_sealed(PRIVATE, ENC + SEALED, info=INFO, aad=AAD) == TEXT


def test_the_library_opens_what_was_sealed_here_and_the_other_way():
    """Newer releases of `cryptography` bring HPKE of their own."""
    hpke = pytest.importorskip("cryptography.hazmat.primitives.hpke")
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    assert suite.decrypt(seal(PUBLIC, TEXT, info=INFO, aad=b""), PRIVATE, info=INFO) == TEXT
    assert open_sealed(PRIVATE, suite.encrypt(TEXT, PRIVATE.public_key(), info=INFO), info=INFO, aad=b"") == TEXT


@given(st.integers(0, len(SEALED) + 31), st.integers(1, 255))
def test_any_change_is_found(place, change):
    """A changed byte anywhere, also in the encapsulated key."""
    data = bytearray(ENC + SEALED)
    data[place] ^= change
    with pytest.raises(Unopened):
        open_sealed(PRIVATE, bytes(data), info=INFO, aad=AAD)


@pytest.mark.parametrize("sealed", [b"", ENC, ENC[:31], bytes(32) + SEALED, ENC + SEALED[:-1]])
def test_what_is_no_sealed_text_is_refused(sealed):
    """Too short, cut, or with a point of low order."""
    with pytest.raises(Unopened):
        open_sealed(PRIVATE, sealed, info=INFO, aad=AAD)


@pytest.mark.parametrize(("info", "aad"), [(INFO, b""), (b"", AAD)])
def test_other_purpose_or_place_does_not_open(info, aad):
    """What a key was sealed for is part of the seal."""
    with pytest.raises(Unopened):
        open_sealed(PRIVATE, ENC + SEALED, info=info, aad=aad)
