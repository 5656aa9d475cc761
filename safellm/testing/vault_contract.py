"""What every vault must do: inherit `VaultContract`, say how a vault is opened, and let pytest run it.

The tests leave nothing behind and expect nothing to be there, so they may run against a store that is in use.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid
from dataclasses import replace

from safellm._core.origin import Origin
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError
from safellm.stores.vault.interface import StoredKey, Vault

_API = Origin("https", "api.example.com", 443)
_LOCAL = Origin("http", "127.0.0.1", 8080)


def make_key(name: str | None = None, *, origins: tuple[Origin, ...] = (_API, _LOCAL)) -> StoredKey:
    """Return a key with a fresh random name and secret."""
    return StoredKey(
        name=name or f"test-{uuid.uuid4().hex}",
        provider="openai",
        origins=origins,
        created_ns=1_700_000_000_123_456_789,
        secret=Secret("test-" + uuid.uuid4().hex),
    )


class VaultContract:
    """The tests. `open_vault` opens the same store each time: what one vault wrote, another one reads."""

    def open_vault(self) -> Vault:
        """Return a vault over the store under test."""
        raise NotImplementedError

    def test_get_returns_what_was_set(self) -> None:
        """All parts of a key come back, also through another vault over the same store."""
        key = make_key()
        self.open_vault().set(key)
        vault = self.open_vault()
        try:
            assert vault.get(key.name) == key
        finally:
            vault.remove(key.name)

    def test_get_returns_none_for_an_unknown_name(self) -> None:
        """A name that was never stored has no key, and asking does not make one."""
        vault = self.open_vault()
        name = make_key().name
        assert vault.get(name) is None
        assert name not in vault.names()

    def test_set_replaces_a_key_of_the_same_name(self) -> None:
        """The second key under a name is the only one, with its own origins."""
        vault = self.open_vault()
        first = make_key()
        second = replace(make_key(first.name), origins=(_LOCAL,))
        vault.set(first)
        vault.set(second)
        try:
            assert vault.get(first.name) == second
            assert vault.names().count(first.name) == 1
        finally:
            assert vault.remove(first.name)
        assert vault.get(first.name) is None

    def test_keys_of_different_names_stay_apart(self) -> None:
        """Setting and removing one key leaves the other one as it was."""
        vault = self.open_vault()
        one, other = make_key(), make_key()
        vault.set(one)
        vault.set(other)
        assert vault.remove(one.name)
        try:
            assert vault.get(other.name) == other
            assert vault.get(one.name) is None
        finally:
            vault.remove(other.name)

    def test_names_follow_set_and_remove(self) -> None:
        """The list is sorted and holds exactly the stored keys."""
        vault = self.open_vault()
        before = vault.names()
        keys = [make_key() for _ in range(3)]
        for key in keys:
            vault.set(key)
        assert self.open_vault().names() == sorted([*before, *(key.name for key in keys)])
        for key in keys:
            assert vault.remove(key.name)
        assert self.open_vault().names() == before

    def test_remove_says_whether_there_was_a_key(self) -> None:
        """Removing twice is true, then false."""
        vault = self.open_vault()
        key = make_key()
        vault.set(key)
        assert vault.remove(key.name) is True
        assert vault.remove(key.name) is False

    def test_long_secret_and_longest_name_are_stored(self) -> None:
        """A name of 64 and a secret of 400 characters fit; no store cuts them."""
        vault = self.open_vault()
        key = replace(make_key((uuid.uuid4().hex * 2)[:64]), secret=Secret("x~!" * 134))
        vault.set(key)
        try:
            assert vault.get(key.name) == key
        finally:
            vault.remove(key.name)

    def test_names_that_can_not_be_used_are_refused(self) -> None:
        """Blanks, slashes, control characters, dots in front and the vault's own entry are no names."""
        vault = self.open_vault()
        for name in ("", " ", "a b", "../x", ".x", "a/b", "#names", "a\n", "a\x00", "ключ", "x" * 65):
            for call in (vault.get, vault.remove, lambda n: vault.set(replace(make_key(), name=n))):
                assert _is_refused(call, name), name

    def test_keys_without_origin_or_with_a_malformed_secret_are_refused(self) -> None:
        """Nothing is stored that could go anywhere, or that could not stand in a header."""
        vault = self.open_vault()
        key = make_key()
        for bad in (replace(key, origins=()), *(replace(key, secret=Secret(s)) for s in ("", "a b", "a\r\nb", "é"))):
            assert _is_refused(vault.set, bad)
        assert vault.get(key.name) is None

    def test_label_names_the_store(self) -> None:
        """People can be told where the key rests."""
        assert self.open_vault().label.strip()


def _is_refused(call: object, argument: object) -> bool:
    try:
        call(argument)  # type: ignore[operator]  # any of the vault's methods
    except ConfigurationError:
        return True
    return False
