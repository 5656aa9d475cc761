"""Which key store is used: by class from the allow-list, whatever keyring's own settings say (THREATS K.1)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from safellm._core.policy import Policy
from safellm.errors import VaultUnavailable
from safellm.stores.vault.backends import Done, Failed, allowed_kinds, bounded, choose_backend
from safellm.stores.vault.keyring_vault import KeyringVault
from safellm.stores.vault.open import open_vault
from safellm.testing.vault_contract import make_key

RINGS = """
import os
from pathlib import Path

from keyring.backend import KeyringBackend


class PlaintextKeyring(KeyringBackend):
    priority = 99

    def get_password(self, service, username):
        try:
            return Path(os.environ["RINGS_FILE"]).read_text()
        except FileNotFoundError:
            return None

    def set_password(self, service, username, password):
        Path(os.environ["RINGS_FILE"]).write_text(password)

    def delete_password(self, service, username):
        os.remove(os.environ["RINGS_FILE"])


class SecretService(PlaintextKeyring):
    # What a plug-in may do to be taken for the real one.
    pass


SecretService.__module__ = "keyring.backends.SecretService"
SecretService.__name__ = SecretService.__qualname__ = "Keyring"
"""
BAD = (
    "keyring.backends.null.Keyring",
    "keyring.backends.fail.Keyring",
    "keyring.backends.chainer.ChainerBackend",
    "{rings}.PlaintextKeyring",
    "{rings}.SecretService",
)


@pytest.fixture
def rings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh module with plaintext backends, no D-Bus, and all of keyring's state put back at the end."""
    import keyring.backend
    import keyring.core

    name = f"rings_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(RINGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RINGS_FILE", str(tmp_path / "plain.txt"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    monkeypatch.setattr(keyring.backend.KeyringBackend, "_classes", set(keyring.backend.KeyringBackend._classes))
    return name


def by_variable(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", full)


def by_file(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "python_keyring"
    folder.mkdir()
    (folder / "keyringrc.cfg").write_text(f"[backend]\ndefault-keyring={full}\nkeyring-path={tmp_path}\n")


def by_plugin(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with an entry point, as `pip install` leaves it; loading it makes its classes known."""
    folder = tmp_path / "bad_rings-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-rings\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[keyring.backends]\nbad = {full.rpartition('.')[0]}\n")


def by_set_keyring(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring

    module, _, name = full.rpartition(".")
    keyring.set_keyring(getattr(importlib.import_module(module), name)())


MECHANISMS = (by_variable, by_file, by_plugin, by_set_keyring)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these platforms always have their own key store")
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_k_1_bad_backend_has_no_effect(
    rings: str, bad: str, mechanism: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bad backend, named by each mechanism: the vault is unavailable and nothing is written."""
    mechanism(bad.format(rings=rings), tmp_path, monkeypatch)
    with pytest.raises(VaultUnavailable, match="no key store here") as caught:
        open_vault(Policy()).set(make_key("openai"))
    assert "gnome-keyring" in caught.value.remedy
    assert not (tmp_path / "plain.txt").exists()
    assert not (tmp_path / "home").exists()
    if bad.startswith("{rings}") and mechanism is not by_set_keyring:
        assert rings not in sys.modules  # not even loaded


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these platforms always have their own key store")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_k_1_mechanisms_do_fool_plain_keyring(
    rings: str, mechanism: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same settings make `keyring` itself write the key in the clear: the test above can fail."""
    import keyring
    import keyring.backend

    mechanism(f"{rings}.PlaintextKeyring", tmp_path, monkeypatch)
    # `get_all_keyring` remembers its first answer for the whole process; ask it anew.
    monkeypatch.setattr(keyring.backend, "get_all_keyring", keyring.backend.get_all_keyring.__wrapped__)
    keyring.set_password("service", "user", "clear text")
    assert (tmp_path / "plain.txt").read_text() == "clear text"


def test_k_1_allow_list_holds_only_real_key_stores() -> None:
    """The list per platform, in full: a new entry must be put here on purpose."""
    listed = {p: [f"{kind.module}.{kind.name}" for kind in allowed_kinds(p)] for p in ("linux", "darwin", "win32")}
    assert listed == {
        "darwin": ["keyring.backends.macOS.Keyring"],
        "win32": ["keyring.backends.Windows.WinVaultKeyring"],
        "linux": [
            "keyring.backends.SecretService.Keyring",
            "keyring.backends.libsecret.Keyring",
            "keyring.backends.kwallet.DBusKeyring",
        ],
    }
    for kinds in (allowed_kinds(p) for p in listed):
        for kind in kinds:
            assert hasattr(importlib.import_module(kind.module), kind.name)


def test_k_1_properties_from_the_environment_do_not_reach_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """`KEYRING_PROPERTY_*` sets attributes of plain keyring backends, and none of ours."""
    from keyring.backends.SecretService import Keyring

    from safellm.stores.vault.backends import _instance

    monkeypatch.setenv("KEYRING_PROPERTY_PREFERRED_COLLECTION", "/attacker")
    assert vars(Keyring())["preferred_collection"] == "/attacker"
    assert vars(_instance(Keyring, ())) == {}
    assert vars(_instance(Keyring, (("appid", "safellm"),))) == {"appid": "safellm"}


@pytest.mark.parametrize(
    ("platform", "command"), [("linux", "gnome-keyring-daemon"), ("darwin", "security"), ("win32", "VaultSvc")]
)
def test_k_2_remedy_names_commands_of_the_platform(
    platform: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the error can act on it where they are."""
    if platform == sys.platform and platform != "linux":
        pytest.skip("the key store of this machine works")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    with pytest.raises(VaultUnavailable) as caught:
        choose_backend(platform=platform)
    assert command in caught.value.remedy


def test_k_1_null_backend_that_is_handed_in_is_noticed() -> None:
    """Even the tests' own way in gives no vault that swallows keys."""
    from keyring.backends.null import Keyring

    with pytest.raises(VaultUnavailable, match="did not give back"):
        KeyringVault(backend=Keyring()).set(make_key())


def test_bounded_work_ends_as_value_or_as_name_of_its_error() -> None:
    """The error itself, which may quote a key, does not come back."""
    done = bounded(lambda: "value", timeout_s=5)
    assert isinstance(done, Done)
    assert done.value == "value"
    assert "value='value'" not in repr(done)
    assert bounded(lambda: 1 / 0, timeout_s=5) == Failed(error="ZeroDivisionError")
    assert bounded(sys.exit, timeout_s=5) == Failed(error="SystemExit")
