"""The vault over a backend that is held in memory: contract, repair, time limit, nothing shown."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pickle
import threading
import time
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from safellm._core.origin import Origin, make_origin
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores.vault.interface import StoredKey
from safellm.stores.vault.keyring_vault import INDEX, SERVICE, KeyringVault
from safellm.testing.vault_contract import VaultContract, make_key


class MemoryBackend:
    """Entries in a dictionary, with the interface and the errors of a `keyring` backend."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


class TestMemoryVault(VaultContract):
    """The contract on the in-memory backend."""

    @pytest.fixture(autouse=True)
    def _store(self) -> None:
        self.backend = MemoryBackend()

    def open_vault(self) -> KeyringVault:
        return KeyringVault(backend=self.backend)


def test_entry_is_one_json_object_with_its_binding() -> None:
    """The secret, its origins and its name rest in one entry, so none can be swapped alone."""
    backend = MemoryBackend()
    key = make_key("openai")
    KeyringVault(backend=backend).set(key)
    entry = json.loads(backend.entries[SERVICE, "openai"])
    assert entry == {
        "v": 1,
        "name": "openai",
        "provider": "openai",
        "origins": ["https://api.example.com", "http://127.0.0.1:8080"],
        "created_ns": key.created_ns,
        "secret": key.secret.reveal(),
    }
    assert json.loads(backend.entries[SERVICE, INDEX]) == ["openai"]


def test_k_11_entry_moved_to_another_name_is_not_that_key() -> None:
    """An entry copied under another name is refused, not used; it can still be removed."""
    backend = MemoryBackend()
    vault = KeyringVault(backend=backend)
    vault.set(make_key("openai"))
    backend.entries[SERVICE, "other"] = backend.entries[SERVICE, "openai"]
    with pytest.raises(ConfigurationError, match="'other'") as caught:
        vault.get("other")
    assert not isinstance(caught.value, VaultUnavailable)  # it may not fall through to another source
    assert vault.remove("other")


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"origins": []},
        {"origins": ["https://user@evil.example"]},
        {"origins": "https://a.example"},
        {"secret": ""},
        {"secret": None},
        {"created_ns": "1"},
        {"created_ns": True},
        {"provider": 3},
        {"name": "openai2"},
    ],
)
def test_damaged_entry_is_refused_without_showing_it(change: dict[str, object]) -> None:
    """Each part of an entry counts; the error and its traceback, locals included, show no secret."""
    backend = MemoryBackend()
    vault = KeyringVault(backend=backend)
    key = make_key("openai")
    vault.set(key)
    entry = json.loads(backend.entries[SERVICE, "openai"]) | change
    backend.entries[SERVICE, "openai"] = json.dumps(entry)
    with pytest.raises(ConfigurationError) as caught:
        vault.get("openai")
    assert caught.value.__context__ is None
    assert key.secret.reveal() not in _everything(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "[" * 2000])
def test_entry_that_is_not_ours_is_refused(text: str) -> None:
    """What another program left under our name is no key, however it looks (an empty one is absent)."""
    backend = MemoryBackend()
    backend.entries[SERVICE, "openai"] = text
    vault = KeyringVault(backend=backend)
    if not text:
        assert vault.get("openai") is None
        return
    with pytest.raises(ConfigurationError, match="not one that safellm wrote"):
        vault.get("openai")


@pytest.mark.parametrize("index", ["{", "null", "7", '{"a": 1}', '["gone", "#names", "a/b", 4]'])
def test_damaged_index_costs_the_list_only(index: str) -> None:
    """Keys are found by name all the same, and the list recovers with the next write."""
    backend = MemoryBackend()
    vault = KeyringVault(backend=backend)
    key = make_key("openai")
    vault.set(key)
    backend.entries[SERVICE, INDEX] = index
    assert vault.get("openai") == key
    assert vault.names() == []
    assert vault.names(also=["openai", "nothing"]) == ["openai"]
    vault.set(make_key("second"))
    assert vault.names() == ["openai", "second"]


def test_index_is_repaired_when_entries_vanish() -> None:
    """A key that was deleted with the desktop's own tool is no longer listed."""
    backend = MemoryBackend()
    vault = KeyringVault(backend=backend)
    vault.set(make_key("one"))
    vault.set(make_key("two"))
    del backend.entries[SERVICE, "one"]
    assert vault.names() == ["two"]
    assert json.loads(backend.entries[SERVICE, INDEX]) == ["two"]


class DeafBackend(MemoryBackend):
    """Takes everything, keeps nothing: as keyring's null backend."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass


def test_k_1_store_that_forgets_is_noticed() -> None:
    """A write counts only once read back; the error shows no secret, also not in a traceback with locals."""
    key = make_key()
    with pytest.raises(VaultUnavailable, match="did not give back") as caught:
        KeyringVault(backend=DeafBackend()).set(key)
    assert key.secret.reveal() not in _everything(caught.value)


class BrokenBackend(MemoryBackend):
    """Raises errors that quote the entry."""

    def set_password(self, service: str, username: str, password: str) -> None:
        if username != INDEX:
            raise ValueError(password)
        super().set_password(service, username, password)


def test_k_4_error_of_a_backend_does_not_carry_the_secret() -> None:
    """What a backend says in its error is dropped: no cause, no context, no locals."""
    key = make_key()
    with pytest.raises(VaultUnavailable, match="ValueError") as caught:
        KeyringVault(backend=BrokenBackend()).set(key)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert key.secret.reveal() not in _everything(caught.value)


class HangingBackend(MemoryBackend):
    """Never answers until it is let go, as a store whose dialog nobody sees."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.calls = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.calls += 1
        self.let_go.wait()
        return super().get_password(service, username)


def test_k_2_store_that_hangs_is_left_after_the_time_limit() -> None:
    """The error comes at the limit, says what to do, and the next call does not pile up behind the first."""
    backend = HangingBackend()
    vault = KeyringVault(backend=backend, timeout_s=0.05)
    start = time.monotonic()
    with pytest.raises(VaultUnavailable, match=r"did not answer within 0\.05 s") as caught:
        vault.get("openai")
    assert time.monotonic() - start < 2
    assert caught.value.remedy
    with pytest.raises(VaultUnavailable, match="earlier question"):
        vault.get("openai")
    assert backend.calls == 1
    threads = [thread for thread in threading.enumerate() if thread.name == "safellm-vault"]
    assert threads
    assert all(thread.daemon for thread in threads)  # the program can still end
    backend.let_go.set()
    for thread in threads:
        thread.join(5)
    assert vault.get("openai") is None  # usable again


def test_k_2_default_limit_is_two_seconds() -> None:
    """The promised limit is the one in force when nobody says otherwise."""
    backend = HangingBackend()
    start = time.monotonic()
    with pytest.raises(VaultUnavailable, match="within 2 s"):
        KeyringVault(backend=backend).get("openai")
    assert 1.9 < time.monotonic() - start < 3
    backend.let_go.set()


def test_vault_shows_no_secret_when_it_is_printed() -> None:
    """Neither a stored key nor the vault shows a secret in repr, str or format; a key can't be pickled."""
    vault = KeyringVault(backend=MemoryBackend())
    key = make_key()
    vault.set(key)
    stored = vault.get(key.name)
    for value in (key, stored, vault):
        assert key.secret.reveal() not in f"{value} {value!r} {vars(vault)}"
    with pytest.raises(TypeError):
        pickle.dumps(stored)


HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){0,2}", fullmatch=True) | st.sampled_from(["::1", "10.0.0.7"])
ORIGINS = st.builds(make_origin, st.sampled_from(["https", "http"]), HOSTS, st.none() | st.integers(1, 65535))
KEYS = st.builds(
    StoredKey,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    provider=st.sampled_from(["openai", "anthropic", "google"]),
    origins=st.lists(ORIGINS, min_size=1, max_size=4, unique=True).map(tuple),
    created_ns=st.integers(0, 2**63),
    secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=300).map(Secret),
)


@given(KEYS)
def test_any_key_comes_back_as_it_was(key: StoredKey) -> None:
    """Every valid name, set of origins and secret survives the entry's encoding."""
    vault = KeyringVault(backend=MemoryBackend())
    vault.set(key)
    assert vault.get(key.name) == key


class VaultMachine(RuleBasedStateMachine):
    """Any order of set, remove, deletion behind the vault's back and index damage agrees with a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.vault = KeyringVault(backend=self.backend)
        self.model: dict[str, StoredKey] = {}

    names = st.sampled_from(["a", "b", "c"])

    @rule(name=names)
    def set_key(self, name: str) -> None:
        self.model[name] = make_key(name, origins=(Origin("https", f"{name}.example", 443),))
        self.vault.set(self.model[name])

    @rule(name=names)
    def remove_key(self, name: str) -> None:
        assert self.vault.remove(name) == (self.model.pop(name, None) is not None)

    @rule(name=names)
    def delete_outside(self, name: str) -> None:
        self.backend.entries.pop((SERVICE, name), None)
        self.model.pop(name, None)

    @invariant()
    def agrees(self) -> None:
        assert self.vault.names() == sorted(self.model)
        for name in ("a", "b", "c"):
            assert self.vault.get(name) == self.model.get(name)


TestVaultMachine = VaultMachine.TestCase


def _everything(error: BaseException) -> str:
    """Return what a crash reporter would show: message, repr and traceback with the locals of safellm's frames."""
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    captured.stack = traceback.StackSummary.from_list(
        [frame for frame in captured.stack if "safellm/stores" in frame.filename.replace("\\", "/")]
    )
    assert captured.stack  # else this looks at nothing
    return "".join(captured.format()) + repr(error) + str(vars(error))
