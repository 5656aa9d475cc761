"""`safellm doctor`: it opens the real things, and names each danger without showing a value."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from safellm import OpenAI, client
from safellm.cli import doctor_environment
from safellm.testing.canary import sweep


def findings(result: Any, area: str) -> list[dict[str, str]]:
    """Return the findings of one area."""
    return [one for one in json.loads(result.stdout)["findings"] if one["area"] == area]


def test_doctor_is_content_with_a_plain_machine(safellm: Any, vault: Any, home: Path) -> None:
    """Nothing dangerous: exit 0, with the paths of ledger and trail and the versions."""
    result = safellm("doctor")
    assert result.exit_code == 0, result.stdout
    text = " ".join(result.stdout.split())
    assert str(home / "ledger.sqlite3") in result.stdout.replace("\n", "").replace(" ", "")
    for part in ("mode guard", "rules; finds its planted value", f"openai {importlib.metadata.version('openai')}"):
        assert part in text
    assert "Memory: 0 keys" in text


def test_e_10_doctor_lists_what_is_guarded_and_refused(safellm: Any, vault: Any) -> None:
    """The list of covered and refused paths is there, in text and in JSON."""
    said = json.loads(safellm("doctor", "--json").stdout)
    assert said["ok"] is True
    refused = " ".join(said["refused"])
    for word in ("websockets", "Bedrock", "provider=", "X.509", "aiohttp"):
        assert word in refused
        assert word in safellm("doctor").stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "https://collector.example/v1"),
        ("OPENAI_BASE_URL", "not a url"),
        ("AZURE_OPENAI_ENDPOINT", "https://other.openai.azure.com"),
        ("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer abc"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: blue"),
        ("HTTPS_PROXY", "http://proxy.example:3128"),
        ("https_proxy", "http://proxy.example:3128"),
        ("ALL_PROXY", "socks5://proxy.example"),
        ("SSL_CERT_FILE", "/nowhere/own.pem"),
        ("SSLKEYLOGFILE", "/nowhere/keys.log"),
        ("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring"),
    ],
)
def test_e_1_doctor_flags_dangerous_variables(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Each dangerous variable is named, with a remedy, and the exit code is 1."""
    monkeypatch.setenv(name, value)
    result = safellm("doctor", "--json")
    assert result.exit_code == 1
    dangers = [one for one in findings(result, "Environment") if one["level"] == "danger"]
    assert any(name in one["what"] and one["remedy"] for one in dangers)
    assert safellm("doctor").exit_code == 1


def test_doctor_takes_the_systems_certificates_for_harmless(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names the default bundle is fine."""
    import ssl

    monkeypatch.setenv("SSL_CERT_DIR", ssl.get_default_verify_paths().openssl_capath)
    result = safellm("doctor", "--json")
    assert result.exit_code == 0
    assert any("SSL_CERT_DIR" in one["what"] and one["level"] == "ok" for one in findings(result, "Environment"))


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY"])
def test_k_4_doctor_names_keys_in_variables_without_showing_them(
    safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A hint in guard mode, a danger in strict mode; no form of the key is printed."""
    monkeypatch.setenv(name, canary)
    hinted = safellm("doctor", "--json")
    assert hinted.exit_code == 0
    assert any(name in one["what"] and one["level"] == "hint" for one in findings(hinted, "Environment"))
    monkeypatch.setenv("SAFELLM_MODE", "strict")
    strict = safellm("doctor", "--json")
    assert strict.exit_code == 1
    for result in (hinted, strict, safellm("doctor")):
        assert sweep(canary, texts=[result.stdout, result.stderr]) == []


def test_k_4_doctor_never_shows_values(safellm: Any, vault: Any, canary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that somebody put into the wrong variable is not printed either."""
    for name in ("OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "HTTPS_PROXY", "SSL_CERT_FILE", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.setenv(name, f"api-key: {canary}")
    result = safellm("doctor")
    assert result.exit_code == 1
    assert sweep(canary, texts=[result.stdout, result.stderr]) == []


def test_r_10_doctor_knows_which_sdk_logs_prompts(safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_LOG=debug is a danger with SDK 2.x, which logs whole requests, and a hint with 3.x, which does not."""
    monkeypatch.setenv("OPENAI_LOG", "debug")
    real = importlib.metadata.version
    for version, code in (("2.20.0", 1), ("3.54.0", 0)):
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name, version=version: version if name == "openai" else real(name)
        )
        assert safellm("doctor").exit_code == code


@pytest.mark.parametrize(("version", "code"), [("1.99.0", 1), ("2.0.0", 0), ("3.54.0", 0), ("4.0.0", 1)])
def test_doctor_checks_the_sdks_version(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch, version: str, code: int
) -> None:
    """Only the tested major versions are fine."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "openai" else real(name))
    assert safellm("doctor").exit_code == code


def test_l_1_doctor_finds_a_broken_trail(safellm: Any, vault: Any, provider: Any, home: Path) -> None:
    """The trail is really verified."""
    OpenAI(base_url=provider.base_url, api_key="sk-" + "x" * 20).models.list()
    assert "verified 2 records" in " ".join(safellm("doctor").stdout.split())
    file = next((home / "audit").glob("trail-*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"decision":"allow"', b'"decision":"allou"', 1))
    result = safellm("doctor", "--json")
    assert result.exit_code == 1
    assert findings(result, "Audit trail")[0]["level"] == "broken"


def test_b_6_doctor_finds_a_broken_ledger(safellm: Any, vault: Any, home: Path) -> None:
    """A ledger that is no ledger is told with the remedy."""
    (home / "ledger.sqlite3").write_bytes(b"not a database, " * 1000)
    result = safellm("doctor", "--json")
    assert result.exit_code == 1
    assert findings(result, "Ledger")[0]["level"] == "broken"


def test_doctor_reports_a_wrong_policy_and_goes_on(safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that can't be loaded is a finding; the environment is looked at all the same."""
    monkeypatch.setenv("SAFELLM_MODE", "lax")
    result = safellm("doctor", "--json")
    assert result.exit_code == 1
    assert findings(result, "Policy")[0]["level"] == "broken"
    assert findings(result, "Environment")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAFELLM_MODE", "observe"),
        ("SAFELLM_REDACTION_ENABLED", "false"),
        ("SAFELLM_AUDIT_MODE", "off"),
        ("SAFELLM_EGRESS_ALLOW_HTTP", "true"),
    ],
)
def test_doctor_names_guards_that_are_switched_off(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A loosened guard is a danger that is named with its source."""
    monkeypatch.setenv(name, value)
    result = safellm("doctor", "--json")
    assert result.exit_code == 1
    assert any(one["level"] == "danger" for one in findings(result, "Policy"))


def test_doctor_knows_the_credential_headers_that_clients_refuse() -> None:
    """The doctor's list is the client's."""
    assert doctor_environment._CREDENTIAL_HEADERS == client._CREDENTIAL_HEADERS
