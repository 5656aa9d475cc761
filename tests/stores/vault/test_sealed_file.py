"""Keys in the encrypted file: the vault's contract, every edit refused, nothing lost in a crash (THREATS K.3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safellm._core.policy import Policy
from safellm._core.secret import Secret
from safellm.errors import ConfigurationError, VaultUnavailable
from safellm.stores.vault import sealed_file
from safellm.stores.vault.open import open_vault, resolve_key
from safellm.stores.vault.sealed_file import FILE_NAME, FLOOR, Cost, SealedFileVault
from safellm.testing.vault_contract import VaultContract, make_key

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
PASSPHRASE = "correct horse " + "battery"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners are POSIX")


def opened(folder, passphrase=PASSPHRASE, **more):
    return SealedFileVault(folder, lambda _new: Secret(passphrase), cost=CHEAP, floor=CHEAP, **more)


@pytest.fixture(autouse=True)
def _forget():
    """Each test derives its own keys, as a new process would."""
    sealed_file._derived.clear()


class TestSealedFile(VaultContract):
    """The contract on the encrypted file."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def open_vault(self):
        return opened(self.folder)


def test_nothing_of_a_key_stands_in_the_file(tmp_path):
    """Not the secret, not the name, not where it goes."""
    key = make_key("openai")
    opened(tmp_path).set(key)
    text = (tmp_path / FILE_NAME).read_bytes()
    assert key.secret.reveal().encode() not in text
    assert b"openai" not in text
    assert b"api.example.com" not in text
    assert PASSPHRASE.encode() not in text


def test_k_3_another_passphrase_does_not_open_it(tmp_path):
    """And the file stays as it is; the right one opens it afterwards."""
    key = make_key("openai")
    opened(tmp_path).set(key)
    sealed_file._derived.clear()
    with pytest.raises(VaultUnavailable, match="passphrase"):
        opened(tmp_path, "another passphrase").get("openai")
    assert opened(tmp_path).get("openai") == key


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_k_3_no_edit_of_the_file_is_believed(tmp_path, data):
    """Any byte changed, put in or taken out: refused, or it is the same document written with other blanks."""
    path = tmp_path / FILE_NAME
    if not path.exists():
        opened(tmp_path).set(make_key("one"))
        (tmp_path / "good").write_bytes(path.read_bytes())
    good = (tmp_path / "good").read_bytes()
    raw = bytearray(good)
    place = data.draw(st.integers(0, len(raw) - 1))
    edit = data.draw(st.sampled_from(["change", "insert", "delete", "cut"]))
    if edit == "change":
        raw[place] ^= data.draw(st.integers(1, 255))
    elif edit == "insert":
        raw.insert(place, data.draw(st.integers(0, 255)))
    elif edit == "delete":
        del raw[place]
    else:
        del raw[place:]
    path.write_bytes(raw)
    try:
        if json.loads(raw) == json.loads(good):
            return
    except ValueError:
        pass
    with pytest.raises(VaultUnavailable):
        opened(tmp_path).get("one")


def test_k_3_entries_cannot_come_from_another_file(tmp_path):
    """The sealed part of one file under the header of another does not open, with the same passphrase."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir(mode=0o700)
        opened(tmp_path / name).set(make_key(name))
    one, two = (json.loads((tmp_path / name / FILE_NAME).read_bytes()) for name in ("a", "b"))
    (tmp_path / "a" / FILE_NAME).write_text(json.dumps({"header": one["header"], "sealed": two["sealed"]}))
    with pytest.raises(VaultUnavailable):
        opened(tmp_path / "a").get("a")


def test_k_3_weakened_parameters_are_refused_before_anything_is_derived(tmp_path):
    """A file that was made cheap to guess is not opened, nor one that would eat the machine."""
    asked = []
    opened(tmp_path).set(make_key("one"))
    strict = SealedFileVault(tmp_path, lambda new: asked.append(new) or Secret(PASSPHRASE))
    with pytest.raises(VaultUnavailable, match="weakened"):
        strict.get("one")
    document = json.loads((tmp_path / FILE_NAME).read_bytes())
    document["header"]["memory_kib"] = 2**31
    (tmp_path / FILE_NAME).write_text(json.dumps(document))
    with pytest.raises(VaultUnavailable, match="absurd"):
        strict.get("one")
    assert asked == []


def test_a_new_file_has_the_parameters_of_the_rfc(tmp_path):
    """RFC 9106, second recommended option: 64 MiB, three passes, four lanes."""
    vault = SealedFileVault(tmp_path, lambda _new: Secret(PASSPHRASE))
    key = make_key("one")
    vault.set(key)
    header = json.loads((tmp_path / FILE_NAME).read_bytes())["header"]
    assert (header["memory_kib"], header["passes"], header["lanes"]) == (65_536, 3, 4)
    assert Cost(memory_kib=65_536, passes=3, lanes=4) == FLOOR
    assert vault.get("one") == key


@POSIX
def test_k_3_a_file_that_others_can_read_is_refused(tmp_path):
    """Mode, link, folder in its place: each says what is wrong."""
    opened(tmp_path).set(make_key("one"))
    path = tmp_path / FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(VaultUnavailable, match="0600"):
        opened(tmp_path).get("one")
    path.chmod(0o600)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(VaultUnavailable):
        opened(tmp_path).get("one")
    path.unlink()
    path.mkdir()
    with pytest.raises(VaultUnavailable):
        opened(tmp_path).get("one")


@POSIX
def test_k_3_a_kill_at_any_step_leaves_the_old_keys_or_the_new(tmp_path):
    """A process that stores keys is killed again and again: the file opens each time with whole keys."""
    program = f"""
import itertools, sys
from pathlib import Path
from dataclasses import replace
from safellm._core.secret import Secret
from safellm.stores.vault.sealed_file import Cost, SealedFileVault
from safellm.testing.vault_contract import make_key
cheap = Cost(memory_kib=64, passes=1, lanes=1)
vault = SealedFileVault(Path({str(tmp_path)!r}), lambda new: Secret({PASSPHRASE!r}), cost=cheap, floor=cheap)
print("ready", flush=True)
for number in itertools.count():
    vault.set(make_key(f"key-{{number % 5}}"))
    print(number, flush=True)
"""
    for round_ in range(4):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(2 + 3 * round_):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        names = opened(tmp_path).names()
        assert names
        assert all(opened(tmp_path).get(name) is not None for name in names)
    opened(tmp_path).set(make_key("last"))
    assert list(tmp_path.glob(f".{FILE_NAME}.*")) == []


def test_the_passphrase_can_be_changed(tmp_path):
    """All keys stay; the old passphrase opens nothing any more."""
    key = make_key("one")
    vault = opened(tmp_path)
    vault.set(key)
    vault.change_passphrase(Secret("another long passphrase"))
    sealed_file._derived.clear()
    assert opened(tmp_path, "another long passphrase").get("one") == key
    sealed_file._derived.clear()
    with pytest.raises(VaultUnavailable):
        opened(tmp_path).get("one")


def test_a_short_passphrase_is_refused(tmp_path):
    """Nothing is written."""
    with pytest.raises(ConfigurationError, match="at least 8"):
        opened(tmp_path, "short").set(make_key("one"))
    assert not (tmp_path / FILE_NAME).exists()


def test_a_date_of_rotation_is_kept(tmp_path):
    """With the rest of the key."""
    key = replace(make_key("one"), rotate_by_ns=1_800_000_000_000_000_000)
    opened(tmp_path).set(key)
    assert opened(tmp_path).get("one") == key


# --- where keys come from -------------------------------------------------------------------------------------------


def secret_file(path: Path, text: str, mode: int = 0o400) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def resolve(tmp_path, policy=None, **environ):
    return resolve_key(
        policy or Policy(),
        provider="openai",
        variable="OPENAI_API_KEY",
        default_origins=make_key().origins,
        environ={"SAFELLM_HOME": str(tmp_path), "HOME": str(tmp_path), **environ},
    )


def test_the_file_vault_takes_its_passphrase_from_a_file(tmp_path):
    """Without a terminal: chosen by the policy, found by a client."""
    path = secret_file(tmp_path / "pass", PASSPHRASE + "\n")
    environ = {"SAFELLM_HOME": str(tmp_path), "SAFELLM_PASSPHRASE_FILE": str(path)}
    policy = Policy(keys={"store": "file"})
    key = make_key("openai")
    open_vault(policy, environ=environ).set(key)
    found = resolve(tmp_path, policy, SAFELLM_PASSPHRASE_FILE=str(path))
    assert found.ref == "vault:openai"
    assert found.secret == key.secret
    assert found.origins == key.origins


def test_k_2_without_a_terminal_and_a_passphrase_it_says_so_at_once(tmp_path, monkeypatch):
    """Never a prompt that nobody sees, never plain text instead."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    vault = open_vault(Policy(keys={"store": "file"}), environ={"SAFELLM_HOME": str(tmp_path)})
    with pytest.raises(VaultUnavailable, match="SAFELLM_PASSPHRASE_FILE"):
        vault.set(make_key("openai"))
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("name", ["openai", "OPENAI_API_KEY", "openai_api_key"])
def test_a_credential_of_the_service_manager_is_used(tmp_path, name):
    """By the key's name or the variable's; also in strict mode."""
    secret = "test-" + "k" * 20
    secret_file(tmp_path / "credentials" / name, secret + "\n")
    for policy in (Policy(), Policy(mode="strict")):
        found = resolve(tmp_path, policy, CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))
        assert found.secret == Secret(secret)
        assert found.ref == f"file:{tmp_path / 'credentials' / name}"


def test_a_variable_that_names_a_file_is_used_where_a_variable_may_be(tmp_path):
    """Not in strict mode, and never a relative path."""
    path = secret_file(tmp_path / "key", "test-" + "k" * 20)
    assert resolve(tmp_path, OPENAI_API_KEY_FILE=str(path)).ref == f"file:{path}"
    assert resolve(tmp_path, Policy(mode="strict", keys={"vault": False}), OPENAI_API_KEY_FILE=str(path)) is None
    with pytest.raises(ConfigurationError, match="absolute"):
        resolve(tmp_path, OPENAI_API_KEY_FILE="key")


@POSIX
def test_a_secret_file_that_is_none_is_refused(tmp_path):
    """Others may read it, or a link leads out of its folder."""
    path = secret_file(tmp_path / "credentials" / "openai", "test-" + "k" * 20, mode=0o644)
    with pytest.raises(ConfigurationError, match="0400"):
        resolve(tmp_path, CREDENTIALS_DIRECTORY=str(path.parent))
    path.unlink()
    path.symlink_to(secret_file(tmp_path / "elsewhere", "test-" + "k" * 20))
    with pytest.raises(ConfigurationError, match="link"):
        resolve(tmp_path, CREDENTIALS_DIRECTORY=str(path.parent))


def test_a_linked_file_within_its_folder_is_read(tmp_path):
    """As Kubernetes mounts them."""
    folder = tmp_path / "credentials"
    secret_file(folder / "..data" / "openai", "test-" + "k" * 20)
    (folder / "openai").symlink_to(Path("..data") / "openai")
    assert resolve(tmp_path, CREDENTIALS_DIRECTORY=str(folder)).secret == Secret("test-" + "k" * 20)


def test_the_sealed_part_is_not_base64_of_the_key(tmp_path):
    """The canary in each encoding that a look at the file would show."""
    key = make_key("one")
    opened(tmp_path).set(key)
    sealed = base64.b64decode(json.loads((tmp_path / FILE_NAME).read_bytes())["sealed"])
    assert key.secret.reveal().encode() not in sealed
