"""`safellm keys`: stored with their origins, never shown, every change recorded."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safellm._core.origin import parse_origin
from safellm.testing.canary import sweep


def sweep_result(secret: str, *results: Any) -> list[str]:
    """Return where a secret stands in what commands printed."""
    return sweep(secret, texts=[text for result in results for text in (result.stdout, result.stderr)])


def test_k_11_set_from_a_pipe_binds_and_records(safellm: Any, vault: Any, canary: str) -> None:
    """The key is stored with the given origins; the binding is in the trail; nothing that is printed holds the key."""
    stored = safellm("keys", "set", "mine", "--origin", "https://llm.example:8443", "--stdin", stdin=canary + "\n")
    assert stored.exit_code == 0, stored.stderr
    assert vault.get("mine").secret.reveal() == canary
    assert vault.get("mine").origins == (parse_origin("https://llm.example:8443"),)
    listed, trail = safellm("keys", "list"), safellm("audit", "tail")
    assert "https://llm.example:8443" in listed.stdout
    assert "key.bind" in trail.stdout
    assert sweep_result(canary, stored, listed, safellm("keys", "list", "--json"), trail) == []


def test_set_uses_the_providers_own_origin(safellm: Any, vault: Any, canary: str) -> None:
    """Without `--origin` a key of openai goes to openai; for another provider an origin must be given."""
    assert safellm("keys", "set", "openai", "--stdin", stdin=canary).exit_code == 0
    assert [str(one) for one in vault.get("openai").origins] == ["https://api.openai.com"]
    other = safellm("keys", "set", "other", "--provider", "acme", "--stdin", stdin=canary)
    assert other.exit_code == 2
    assert "--origin" in other.stderr
    assert vault.get("other") is None


def test_set_takes_no_key_as_an_argument(safellm: Any, vault: Any, canary: str) -> None:
    """A second argument is wrong use, and so is no terminal without `--stdin`; the remedy names the pipe."""
    assert safellm("keys", "set", "openai", "value").exit_code == 2
    alone = safellm("keys", "set", "openai", stdin=canary)
    assert alone.exit_code == 2
    assert "--stdin" in alone.stderr
    assert vault.get("openai") is None


def test_k_11_set_replaces_only_when_told(safellm: Any, vault: Any, canary: str) -> None:
    """A key that is there stays, with its binding, unless `--yes` is given."""
    assert safellm("keys", "set", "openai", "--stdin", stdin=canary).exit_code == 0
    again = ("keys", "set", "openai", "--origin", "https://elsewhere.example", "--stdin")
    assert safellm(*again, stdin="another-key-1234").exit_code == 2
    assert vault.get("openai").secret.reveal() == canary
    assert safellm(*again, "--yes", stdin="another-key-1234").exit_code == 0
    assert [str(one) for one in vault.get("openai").origins] == ["https://elsewhere.example"]


@pytest.mark.parametrize("text", ["", "\n", "two words here", "tab\there-and-more"])
def test_set_refuses_what_is_no_key(safellm: Any, vault: Any, text: str) -> None:
    """An empty or malformed key is wrong use and nothing is stored."""
    assert safellm("keys", "set", "openai", "--stdin", stdin=text).exit_code == 2
    assert vault.names() == []


def test_import_stores_and_says_what_to_unset(
    safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable's key is stored; the text shows its end only and the command that unsets the variable."""
    monkeypatch.setenv("OPENAI_API_KEY", canary)
    result = safellm("keys", "import")
    assert result.exit_code == 0, result.stderr
    assert vault.get("openai").secret.reveal() == canary
    assert canary[-4:] in result.stdout
    assert "unset OPENAI_API_KEY" in result.stdout
    assert sweep_result(canary, result) == []


def test_import_without_a_variable_is_wrong_use(safellm: Any, vault: Any) -> None:
    """Nothing to import: exit 2 and the names that were looked for."""
    result = safellm("keys", "import")
    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.stderr


def test_e_1_import_takes_no_azure_address_from_a_variable(
    safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Azure key needs its origin said by the person."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", canary)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://evil.openai.azure.com")
    assert safellm("keys", "import").exit_code == 2
    assert vault.names() == []
    assert safellm("keys", "import", "--origin", "https://mine.openai.azure.com").exit_code == 0
    assert vault.get("azure").provider == "azure", "the name under which the SDK's client looks for it"
    assert [str(one) for one in vault.get("azure").origins] == ["https://mine.openai.azure.com"]


def test_k_11_bind_adds_an_address_and_records_it(safellm: Any, vault: Any, canary: str) -> None:
    """The key, its age and its addresses stay; the new one is stored and in the trail; without a person it takes `--yes`."""
    safellm("keys", "set", "openai", "--rotate-days", "30", "--stdin", stdin=canary)
    before = vault.get("openai")
    alone = safellm("keys", "bind", "openai", "https://gateway.example")
    assert alone.exit_code == 2
    assert "--yes" in alone.stderr
    assert vault.get("openai") == before
    bound = safellm("keys", "bind", "openai", "https://gateway.example", "--yes")
    assert bound.exit_code == 0, bound.stderr
    after = vault.get("openai")
    assert [str(one) for one in after.origins] == ["https://api.openai.com", "https://gateway.example"]
    assert (after.secret, after.created_ns, after.rotate_by_ns) == (
        before.secret,
        before.created_ns,
        before.rotate_by_ns,
    )
    trail = safellm("audit", "tail", "--json").stdout
    assert "https://gateway.example" in trail
    again = safellm("keys", "bind", "openai", "https://gateway.example")
    assert "already" in again.stdout
    assert safellm("audit", "tail", "--json").stdout == trail
    assert sweep_result(canary, alone, bound, again) == []


def test_k_11_bind_to_one_address_only(safellm: Any, vault: Any, canary: str) -> None:
    """`--only` drops what the key was bound to; a key that isn't there is named with the way to store it."""
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    assert safellm("keys", "bind", "openai", "https://gateway.example", "--only", "--yes").exit_code == 0
    assert [str(one) for one in vault.get("openai").origins] == ["https://gateway.example"]
    missing = safellm("keys", "bind", "opnai", "https://gateway.example", "--yes")
    assert missing.exit_code == 2
    assert "safellm keys set" in missing.stderr


def test_list_shows_names_origins_and_age(safellm: Any, vault: Any, canary: str) -> None:
    """Nothing stored is said; afterwards each key is a row, also in JSON."""
    assert "No keys" in safellm("keys", "list").stdout
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    said = json.loads(safellm("keys", "list", "--json").stdout)
    assert said["keys"][0]["name"] == "openai"
    assert said["keys"][0]["origins"] == ["https://api.openai.com"]
    assert said["keys"][0]["created"].endswith("Z")


def test_remove_removes_and_records(safellm: Any, vault: Any, canary: str) -> None:
    """Removing tells, and is in the trail; removing nothing is exit code 1."""
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    assert safellm("keys", "remove", "openai").exit_code == 0
    assert vault.get("openai") is None
    assert "key.remove" in safellm("audit", "tail").stdout
    assert safellm("keys", "remove", "openai").exit_code == 1


def test_every_command_works_without_a_key_store(safellm: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no key store the remedy is printed and the exit code is 2, without a traceback."""
    from safellm.stores.vault import backends

    monkeypatch.setattr(backends, "allowed_kinds", lambda *_, **__: ())
    result = safellm("keys", "list")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_import_moves_a_key_out_of_a_file(safellm: Any, vault: Any, canary: str, tmp_path: Path) -> None:
    """The line becomes a comment, the rest of the file stays, and the mode too; the output shows the key's end only."""
    path = tmp_path / "my.env"
    before = f"DEBUG=1\r\nexport OPENAI_API_KEY='{canary}'  # mine\r\nANTHROPIC_API_KEY=${{FROM_ELSEWHERE}}\r\n"
    path.write_bytes(before.encode())
    path.chmod(0o640)
    result = safellm("keys", "import", "--file", str(path), "--take-out")
    assert result.exit_code == 0, result.stderr
    assert vault.get("openai").secret.reveal() == canary
    assert path.read_bytes() == (
        b"DEBUG=1\r\n# OPENAI_API_KEY is in the key store of safellm now, as openai\r\n"
        b"ANTHROPIC_API_KEY=${FROM_ELSEWHERE}\r\n"
    )
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.glob(".my.env*")) == []
    assert sweep_result(canary, result) == []


def test_import_finds_keys_where_they_usually_are(
    safellm: Any, vault: Any, canary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.env` of this folder and shell profiles, only when asked; several keys need a word for each."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env.local").write_text(f"OPENAI_API_KEY={canary}\n")
    (tmp_path / ".config" / "fish").mkdir(parents=True)
    (tmp_path / ".config" / "fish" / "config.fish").write_text(f'set -gx OPENAI_ADMIN_KEY "{canary}-admin"\n')
    assert safellm("keys", "import").exit_code == 2
    asked = safellm("keys", "import", "--look-around")
    assert asked.exit_code == 2
    assert ".env.local" in "".join(asked.stdout.split())
    assert vault.names() == []
    done = safellm("keys", "import", "--look-around", "--yes")
    assert done.exit_code == 0, done.stderr
    assert vault.names() == ["openai", "openai-admin"]
    assert vault.get("openai-admin").secret.reveal() == canary + "-admin"
    again = safellm("keys", "import", "--look-around", "--yes")
    assert "already, as 'openai'" in again.stdout, "nobody has to guess whether it was stored"
    assert sweep_result(canary, asked, done, again) == []


def test_e_4_binding_to_plain_http_says_that_calls_are_refused(safellm: Any, vault: Any, canary: str) -> None:
    """The binding is kept, and what has to be changed before it is of use is said; loopback needs no encryption."""
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    bound = safellm("keys", "bind", "openai", "http://gateway.example", "http://127.0.0.1:8080", "--yes")
    assert bound.exit_code == 0
    assert "Calls to http://gateway.example are refused" in bound.stdout.replace("\n", " ")
    assert "Calls to http://127" not in bound.stdout


def test_rotate_keeps_the_binding(safellm: Any, vault: Any, canary: str) -> None:
    """A new secret under the old name, provider and addresses; the same one again is refused."""
    safellm("keys", "set", "mine", "--origin", "https://llm.example", "--stdin", "--rotate-days", "30", stdin=canary)
    old = vault.get("mine")
    assert safellm("keys", "rotate", "mine", "--stdin", stdin=canary).exit_code == 2
    done = safellm("keys", "rotate", "mine", "--stdin", stdin=canary + "-new")
    assert done.exit_code == 0, done.stderr
    new = vault.get("mine")
    assert new.secret.reveal() == canary + "-new"
    assert new.origins == old.origins
    assert new.created_ns > old.created_ns
    assert new.rotate_by_ns - new.created_ns == old.rotate_by_ns - old.created_ns
    assert "revoke" in done.stdout
    assert "key.rotate" in safellm("audit", "tail").stdout
    assert sweep_result(canary, done) == []


def test_rename_show_and_export_origin(safellm: Any, vault: Any, canary: str) -> None:
    """The key keeps everything but its name; a name that is taken stays."""
    for name in ("one", "two"):
        safellm("keys", "set", name, "--origin", "https://llm.example", "--stdin", stdin=canary)
    assert safellm("keys", "rename", "one", "two").exit_code == 2
    assert safellm("keys", "rename", "one", "three").exit_code == 0
    assert vault.names() == ["three", "two"]
    shown = safellm("keys", "show", "three", "--json")
    assert json.loads(shown.stdout)["bound_to"] == ["https://llm.example"]
    assert safellm("keys", "export-origin", "three").stdout == "https://llm.example\n"
    assert safellm("keys", "show", "one").exit_code == 2
    assert sweep_result(canary, shown, safellm("keys", "show", "three")) == []


def test_doctor_warns_of_old_keys(safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the date that was said, else by the policy's age."""
    import time
    from dataclasses import replace

    safellm("keys", "set", "old", "--origin", "https://llm.example", "--stdin", stdin=canary)
    assert "older" not in safellm("doctor").stdout
    key = vault.get("old")
    vault.set(replace(key, created_ns=time.time_ns() - 91 * 86_400 * 10**9))
    assert "keys rotate old" in safellm("doctor").stdout.replace("\n", " ")
    vault.set(replace(key, rotate_by_ns=time.time_ns() - 1))
    assert "keys rotate old" in safellm("doctor").stdout.replace("\n", " ")


def test_the_encrypted_file_from_the_command_line(
    safellm: Any, home: Path, canary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key store: chosen by name once, found by itself afterwards, and moved back and forth."""
    from safellm.stores.vault import backends, sealed_file

    monkeypatch.setattr(backends, "allowed_kinds", lambda *_, **__: ())
    (tmp_path / "pass").write_text("a long passphrase")
    (tmp_path / "pass").chmod(0o400)
    monkeypatch.setenv("SAFELLM_PASSPHRASE_FILE", str(tmp_path / "pass"))
    hint = safellm("keys", "set", "openai", "--stdin", stdin=canary)
    assert hint.exit_code == 2
    assert "--store file" in hint.stderr.replace("\n", " ")
    assert not (home / "keys.sealed").exists()
    done = safellm("keys", "set", "openai", "--store", "file", "--stdin", stdin=canary)
    assert done.exit_code == 0, done.stderr
    assert "encrypted file" in done.stdout
    sealed_file._derived.clear()
    assert "openai" in safellm("keys", "list").stdout
    assert safellm("keys", "migrate", "keyring").exit_code == 2
    assert "openai" in safellm("keys", "list").stdout
    assert sweep_result(canary, hint, done) == []


def test_the_encrypted_file_gets_another_passphrase(
    safellm: Any, home: Path, canary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on it opens with the new one alone; without a file, a terminal or a word there is an error, and nothing changes."""
    from safellm.stores.vault import backends, sealed_file

    monkeypatch.setattr(backends, "allowed_kinds", lambda *_, **__: ())
    file = tmp_path / "pass"
    file.write_text("a long passphrase")
    file.chmod(0o600)
    monkeypatch.setenv("SAFELLM_PASSPHRASE_FILE", str(file))
    assert "no encrypted key file" in safellm("keys", "passphrase", "--stdin", stdin="new one\n").stderr
    assert not (home / "keys.sealed").exists()
    assert safellm("keys", "set", "openai", "--store", "file", "--stdin", stdin=canary).exit_code == 0
    assert (
        safellm("keys", "passphrase").exit_code == safellm("keys", "passphrase", "--stdin", stdin="\n").exit_code == 2
    )
    changed = safellm("keys", "passphrase", "--stdin", stdin="quite a new one\n")
    assert changed.exit_code == 0, changed.stderr
    assert "1 key" in changed.stdout
    sealed_file._derived.clear()
    assert "does not open" in safellm("keys", "list").stderr.replace("\n", " ")
    file.write_text("quite a new one")
    sealed_file._derived.clear()
    assert "openai" in safellm("keys", "list").stdout
    assert "key.passphrase" in safellm("audit", "tail").stdout
    assert sweep_result("quite a new one", changed, safellm("audit", "tail")) == []
