"""Root hashes and signed notes: published vectors, and no edit that is believed (THREATS L.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from safellm._core import merkle, note
from safellm._core.note import Checkpoint, MalformedNote, VerifierKey

# The list of RFC 6962's reference implementation and the root hashes of its beginnings.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The example of Go's note package (golang.org/x/mod/sumdb/note).
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey(name="safellm/abc", public=PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
POINT = Checkpoint(origin="safellm/abc", size=8, root=bytes.fromhex(ROOTS[8]), extra=("head 00ff",))


def check(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def plain_root(records):
    """RFC 6962, 2.1, as it is written there."""
    if not records:
        return hashlib.sha256(b"").digest()
    if len(records) == 1:
        return hashlib.sha256(b"\0" + records[0]).digest()
    half = 1 << (len(records) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + plain_root(records[:half]) + plain_root(records[half:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    """Of the reference implementation."""
    assert merkle.root_of(LEAVES[:size]).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=3), max_size=70))
def test_a_growing_tree_has_the_root_of_the_definition(records):
    """At every size, and from a copy of its peaks."""
    tree = merkle.Tree()
    for number, record in enumerate(records):
        tree = merkle.Tree(tree.size, tree.peaks)
        tree.add(record)
        assert tree.root() == plain_root(records[: number + 1])
    assert len(tree.peaks) == tree.size.bit_count()


def test_l_3_the_published_note_verifies():
    """Another implementation made it."""
    key = note.read_key(GO_KEY)
    assert str(key) == GO_KEY
    assert note.open_note(GO_NOTE, key, check) == GO_NOTE.partition("\n\n")[0] + "\n"


def test_a_checkpoint_comes_back_as_it_was_signed():
    """Sign, open, read."""
    signed = note.sign_note(POINT.text(), KEY, PRIVATE.sign)
    assert note.read_checkpoint(note.open_note(signed, KEY, check)) == POINT
    assert note.read_key(str(KEY)) == KEY


def test_l_3_signatures_of_others_are_passed_over():
    """A witness may have signed too; alone it proves nothing."""
    other = Ed25519PrivateKey.generate()
    witness = VerifierKey(name="witness", public=other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    signed = note.sign_note(POINT.text(), KEY, PRIVATE.sign)
    both = signed + note.sign_note(POINT.text(), witness, other.sign).rpartition("\n\n")[2]
    assert note.open_note(both, KEY, check) == POINT.text()
    assert note.open_note(both, witness, check) == POINT.text()
    with pytest.raises(MalformedNote, match="not signed with this key"):
        note.open_note(signed, witness, check)


def test_l_3_another_key_of_the_same_name_does_not_count():
    """Its id differs."""
    other = Ed25519PrivateKey.generate()
    false = VerifierKey(name=KEY.name, public=other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    with pytest.raises(MalformedNote):
        note.open_note(note.sign_note(POINT.text(), false, other.sign), KEY, check)


@given(st.data())
def test_l_3_no_edit_of_a_checkpoint_is_believed(data):
    """Any character changed, put in or taken out."""
    signed = note.sign_note(POINT.text(), KEY, PRIVATE.sign)
    place = data.draw(st.integers(0, len(signed) - 1))
    letter = data.draw(st.sampled_from("0A1\n =+/\u2014\x00"))
    edit = data.draw(st.sampled_from(["change", "insert", "delete"]))
    edited = signed[:place] + (letter if edit != "delete" else "") + signed[place + (edit != "insert") :]
    if edited == signed:
        return
    with pytest.raises(MalformedNote):
        note.read_checkpoint(note.open_note(edited, KEY, check))


@given(st.text())
def test_any_text_is_read_or_refused(text):
    """Nothing but our error."""
    for function in (note.read_key, note.read_checkpoint, lambda one: note.open_note(one, KEY, check)):
        with pytest.raises(MalformedNote):
            function(text)


@pytest.mark.parametrize("size", ["-1", "01", "+1", "1.0", "", "1" * 20, "\u0661"])
def test_a_size_has_one_way_to_be_written(size):
    """Decimal, without signs or zeros before it."""
    root = base64.b64encode(bytes(32)).decode()
    with pytest.raises(MalformedNote):
        note.read_checkpoint(f"log\n{size}\n{root}\n")
