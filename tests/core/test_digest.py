"""The keyed digest: HMAC-SHA256, however the bytes come."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from safellm._core.digest import Digest, keyed_digest


@given(st.binary(max_size=130), st.lists(st.one_of(st.binary(max_size=50), st.just(b"x" * 40_000)), max_size=6))
def test_digest_is_hmac_sha256_in_any_pieces(key: bytes, pieces: list[bytes]) -> None:
    """Keys longer than a block, no pieces and many give what the standard library gives."""
    digest = Digest(key, b"in")
    for piece in pieces:
        digest.add(piece)
    wanted = hmac.new(key, b"in" + b"".join(pieces), hashlib.sha256).hexdigest()
    assert digest.hex() == digest.hex() == keyed_digest(key, b"in", b"".join(pieces)) == wanted
