"""Where a key comes from: vault first, then the variable where the policy lets it; and what asking costs."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from safellm._core.origin import Origin
from safellm._core.policy import Keys, Mode, Policy
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores.vault.interface import StoredKey, Vault
from safellm.stores.vault.keyring_vault import SERVICE, KeyringVault
from safellm.stores.vault.open import ResolvedKey, open_vault, resolve_key
from safellm.stores.vault.remembered import FILE_NAME, RememberedVault, known_names
from safellm.testing.vault_contract import VaultContract, make_key

DEFAULT = (Origin("https", "api.openai.com", 443),)
BOUND = (Origin("https", "gateway.example", 443),)
VARIABLE = "OPENAI_API_KEY"
ENV_KEY = "env-" + "k" * 30
GUARD = Policy()
STRICT = Policy(mode=Mode.STRICT)
NO_VARIABLE = Policy(keys=Keys(environment=False))


class DictBackend:
    """Entries in a dictionary; `asked` says whether anybody looked."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


class LockedBackend(DictBackend):
    """A store that is there and stays shut."""

    def get_password(self, service: str, username: str) -> str | None:
        raise PermissionError


def vault_with(*keys: StoredKey) -> KeyringVault:
    vault = KeyringVault(backend=DictBackend())
    for key in keys:
        vault.set(key)
    return vault


def resolve(policy: Policy, vault: Vault | None, environ: dict[str, str]) -> ResolvedKey | None:
    return resolve_key(
        policy, provider="openai", variable=VARIABLE, default_origins=DEFAULT, environ=environ, vault=vault
    )


HELD = make_key("openai", origins=BOUND)


@pytest.mark.parametrize("policy", [GUARD, STRICT, NO_VARIABLE, Policy(mode=Mode.OBSERVE)])
@pytest.mark.parametrize("environ", [{}, {VARIABLE: ENV_KEY}])
def test_vault_comes_first_in_every_mode(policy: Policy, environ: dict[str, str]) -> None:
    """A stored key is used with its own origins, whatever the variable says."""
    found = resolve(policy, vault_with(HELD), environ)
    assert found == ResolvedKey(ref="vault:openai", secret=HELD.secret, origins=BOUND)


def test_k_11_stored_key_keeps_its_origins() -> None:
    """Neither a policy nor default origins widen where a stored key may go."""
    policy = Policy.model_validate({"egress": {"origins": ["https://evil.example"], "allow_http": True}})
    found = resolve(policy, vault_with(HELD), {"OPENAI_BASE_URL": "https://evil.example", VARIABLE: ENV_KEY})
    assert found is not None
    assert found.origins == BOUND


@pytest.mark.parametrize("policy", [GUARD, Policy(mode=Mode.OBSERVE)])
def test_variable_is_used_when_the_vault_lacks_the_key(policy: Policy) -> None:
    """The drop-in case: the note says how to do better, and shows nothing of the key."""
    found = resolve(policy, vault_with(), {VARIABLE: f" {ENV_KEY}\n"})
    assert found is not None
    assert (found.ref, found.secret, found.origins) == (f"env:{VARIABLE}", Secret(ENV_KEY), DEFAULT)
    assert "safellm keys import openai" in " ".join(found.notes)
    assert ENV_KEY not in repr(found)


@pytest.mark.parametrize("policy", [STRICT, NO_VARIABLE])
def test_variable_is_refused_with_the_remedy_where_the_policy_forbids_it(policy: Policy) -> None:
    """Not silently skipped: the person sees why there is no key and what to run."""
    with pytest.raises(ConfigurationError, match=VARIABLE) as caught:
        resolve(policy, vault_with(), {VARIABLE: ENV_KEY})
    assert "safellm keys import openai" in caught.value.remedy
    assert ENV_KEY not in str(caught.value)


@pytest.mark.parametrize("policy", [GUARD, STRICT, NO_VARIABLE])
@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}, {VARIABLE: "  "}])
def test_no_key_anywhere_is_none(policy: Policy, environ: dict[str, str]) -> None:
    """An empty variable is no key."""
    assert resolve(policy, vault_with(), environ) is None


def test_unavailable_vault_falls_through_to_the_variable_with_a_note() -> None:
    """In guard mode a set variable is another source that the policy allows; the choice is recorded."""
    found = resolve(GUARD, KeyringVault(backend=LockedBackend()), {VARIABLE: ENV_KEY})
    assert found is not None
    assert found.ref == f"env:{VARIABLE}"
    assert "could not be asked" in found.notes[0]


@pytest.mark.parametrize(
    ("policy", "environ"),
    [(GUARD, {}), (STRICT, {}), (STRICT, {VARIABLE: ENV_KEY}), (NO_VARIABLE, {VARIABLE: ENV_KEY})],
)
def test_unavailable_vault_is_an_error_without_another_source(policy: Policy, environ: dict[str, str]) -> None:
    """Never a silent fallback."""
    with pytest.raises(VaultUnavailable):
        resolve(policy, KeyringVault(backend=LockedBackend()), environ)


def test_damaged_entry_does_not_fall_through_to_the_variable() -> None:
    """Who can damage an entry can't choose the variable's key instead."""
    backend = DictBackend()
    backend.entries[SERVICE, "openai"] = "damaged"
    with pytest.raises(ConfigurationError, match="not one that safellm wrote"):
        resolve(GUARD, KeyringVault(backend=backend), {VARIABLE: ENV_KEY})


def test_key_of_another_provider_is_refused() -> None:
    """`keys.name` can't send one provider's key to another one."""
    other = StoredKey(name="work", provider="anthropic", origins=BOUND, created_ns=1, secret=HELD.secret)
    with pytest.raises(ConfigurationError, match="belongs to 'anthropic'"):
        resolve(Policy(keys=Keys(name="work")), vault_with(other), {VARIABLE: ENV_KEY})


def test_keys_name_chooses_among_stored_keys() -> None:
    """The policy's name is looked up instead of the provider's."""
    found = resolve(Policy(keys=Keys(name="work")), vault_with(HELD, make_key("work", origins=BOUND)), {})
    assert found is not None
    assert found.ref == "vault:work"


@pytest.mark.parametrize("value", ["a b", "a\nb", "schlüssel", "a\x00b", "x" * 9000])
def test_malformed_variable_is_refused_without_showing_it(value: str) -> None:
    """A header could be split or broken by it."""
    with pytest.raises(ConfigurationError, match="not a key") as caught:
        resolve(Policy(keys=Keys(vault=False)), None, {VARIABLE: value})
    assert value not in str(caught.value)


def test_switched_off_vault_is_not_opened() -> None:
    """`keys.vault = false` leaves the variable as the only source, and says so when asked for the vault."""
    policy = Policy(keys=Keys(vault=False))
    backend = DictBackend()
    found = resolve(policy, KeyringVault(backend=backend), {VARIABLE: ENV_KEY})
    assert found is not None
    assert found.ref == f"env:{VARIABLE}"
    assert backend.asked == 0
    with pytest.raises(VaultUnavailable, match="switches the vault off"):
        open_vault(policy)


class TestRememberedVault(VaultContract):
    """The contract with the remembered names around it."""

    @pytest.fixture(autouse=True)
    def _store(self, tmp_path: Path) -> None:
        self.backend = DictBackend()
        self.state = tmp_path / "state"

    def open_vault(self) -> RememberedVault:
        return RememberedVault(KeyringVault(backend=self.backend), self.state)


PROBE = """
import sys
from safellm._core.policy import Policy
from safellm.stores.vault.open import resolve_key
environ = dict(__import__("os").environ)
found = resolve_key(Policy(), provider="openai", variable="OPENAI_API_KEY", default_origins=(), environ=environ)
print(found.ref, "keyring" in sys.modules)
"""


@pytest.mark.parametrize(
    ("remembered", "loads_keyring"),
    [
        (None, False),
        ('{"v": 1, "names": ["other"]}', False),
        ('{"v": 1, "names": ["openai"]}', True),
        ("{damaged", True),
    ],
)
def test_variable_only_program_never_loads_keyring(tmp_path: Path, remembered: str | None, loads_keyring: bool) -> None:
    """The key store's quarter of a second is paid only where it may hold the key, or nobody knows."""
    if remembered is not None:
        (tmp_path / FILE_NAME).write_text(remembered)
    environ = {k: v for k, v in os.environ.items() if k != "DBUS_SESSION_BUS_ADDRESS"}
    environ |= {"SAFELLM_HOME": str(tmp_path), VARIABLE: ENV_KEY}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [f"env:{VARIABLE}", str(loads_keyring)]


def test_names_are_remembered_and_forgotten(tmp_path: Path) -> None:
    """The file follows the vault, holds names only, and is in place before a key is stored."""
    backend = DictBackend()
    vault = RememberedVault(KeyringVault(backend=backend), tmp_path)
    assert known_names(tmp_path) == frozenset()
    vault.set(HELD)
    assert known_names(tmp_path) == {"openai"}
    assert HELD.secret.reveal() not in (tmp_path / FILE_NAME).read_text()
    vault.remove("openai")
    assert known_names(tmp_path) == frozenset()
    with pytest.raises(VaultUnavailable):
        RememberedVault(KeyringVault(backend=LockedBackend()), tmp_path).set(HELD)
    assert known_names(tmp_path) == {"openai"}  # a name too many is harmless


@pytest.mark.parametrize("text", ["{", "[]", '{"names": "x"}', '{"names": [1]}', "[" * 3000, "\xff"])
def test_damaged_memory_means_ask_and_is_mended(tmp_path: Path, text: str) -> None:
    """A file that can't be trusted is no reason to skip the vault; the next change writes it anew, in full."""
    vault = RememberedVault(KeyringVault(backend=DictBackend()), tmp_path)
    vault.set(HELD)
    (tmp_path / FILE_NAME).write_bytes(text.encode("latin-1"))
    assert known_names(tmp_path) is None
    vault.set(make_key("second"))
    assert known_names(tmp_path) == {"openai", "second"}


def test_memory_heals_a_lost_index(tmp_path: Path) -> None:
    """Names that only the file knows are asked for and listed again."""
    backend = DictBackend()
    vault = RememberedVault(KeyringVault(backend=backend), tmp_path)
    vault.set(HELD)
    backend.entries[SERVICE, "#names"] = "lost"
    assert vault.names() == ["openai"]
    assert json.loads(backend.entries[SERVICE, "#names"]) == ["openai"]


def test_state_folder_that_can_not_be_made_stores_nothing(tmp_path: Path) -> None:
    """Without the memory a later program would pass the vault by: so the key isn't stored at all."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    backend = DictBackend()
    with pytest.raises(ConfigurationError, match="can't be made"):
        RememberedVault(KeyringVault(backend=backend), blocked / "state").set(HELD)
    assert backend.entries == {}


def test_many_writers_lose_no_name(tmp_path: Path) -> None:
    """Vaults that change the same store at the same time: index and memory hold every name in the end."""
    backend = DictBackend()
    names = [f"key-{i}" for i in range(8)]
    start = threading.Barrier(len(names))

    def write(name: str) -> None:
        start.wait()
        RememberedVault(KeyringVault(backend=backend), tmp_path).set(make_key(name))

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads(backend.entries[SERVICE, "#names"]) == names
    assert known_names(tmp_path) == frozenset(names)
