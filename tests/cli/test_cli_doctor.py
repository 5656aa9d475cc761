"""`safellm doctor`: it opens the real things, and names each danger without showing a value."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.metadata
import json
import re
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
    for word in ("websockets", "provider=", "aiohttp"):
        assert word in refused
        assert word in safellm("doctor").stdout
    for word in ("BedrockOpenAI", "X.509"):
        assert word not in refused
        assert word in safellm("doctor").stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "https://collector.example/v1"),
        ("OPENAI_BASE_URL", "not a url"),
        ("AZURE_OPENAI_ENDPOINT", "https://other.openai.azure.com"),
        ("ANTHROPIC_BASE_URL", "https://collector.example"),
        ("GOOGLE_GEMINI_BASE_URL", "https://collector.example"),
        ("ANTHROPIC_CUSTOM_HEADERS", "X-Team: blue"),
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
    installed, real = {"anthropic": "2.12.0", "google-genai": "3.4.0"}, importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: installed.get(name) or real(name))
    monkeypatch.setenv(name, value)
    result = safellm("doctor", "--json")
    assert result.exit_code == 1
    dangers = [one for one in findings(result, "Environment") if one["level"] == "danger"]
    assert any(name in one["what"] and one["remedy"] for one in dangers)
    assert safellm("doctor").exit_code == 1


def test_doctor_passes_over_variables_of_an_sdk_that_is_not_there(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address for Anthropic's SDK moves nothing where only OpenAI's is."""

    def version(name: str, real: Any = importlib.metadata.version) -> str:
        if name == "anthropic":
            raise importlib.metadata.PackageNotFoundError(name)
        return str(real(name))

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://collector.example")
    assert safellm("doctor").exit_code == 0


def test_doctor_takes_the_systems_certificates_for_harmless(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names the default bundle is fine."""
    import ssl

    monkeypatch.setenv("SSL_CERT_DIR", ssl.get_default_verify_paths().openssl_capath)
    result = safellm("doctor", "--json")
    assert result.exit_code == 0
    assert any("SSL_CERT_DIR" in one["what"] and one["level"] == "ok" for one in findings(result, "Environment"))


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
    ],
)  # fmt: skip
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


def test_doctor_names_types_that_nothing_finds_and_what_is_let_through(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A selection leaves the rest in plain, and a type of one's own may be a slip of the pen: both are hints."""
    monkeypatch.setenv("SAFELLM_REDACT", "PHONE,KUNDE")
    said = " ".join(one["what"] for one in findings(safellm("doctor", "--json"), "Policy") if one["level"] == "hint")
    assert "names KUNDE:" in said
    assert "nothing but SECRET, REGISTERED, PHONE, KUNDE is hidden" in said
    monkeypatch.setenv("SAFELLM_REDACT", "PHONE=block")
    said = " ".join(one["what"] for one in findings(safellm("doctor", "--json"), "Policy"))
    assert "redaction.default" not in said
    assert "redaction.types" not in said


def test_one_record_after_a_checkpoint_is_one(safellm: Any, vault: Any, home: Path, provider: Any, canary: str) -> None:
    """The line about the last checkpoint is in whole words."""
    OpenAI(base_url=provider.base_url, api_key="any").models.list()
    safellm("audit", "checkpoint")
    assert "no record after it" in safellm("doctor").stdout
    safellm("keys", "set", "openai", "--stdin", stdin=canary)
    assert "1 record after it not proved" in safellm("doctor").stdout


def test_r_10_doctor_knows_which_sdk_logs_prompts(safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_LOG=debug is a danger with SDK 2.x, which logs whole requests, and a hint with 3.x, which does not."""
    monkeypatch.setenv("OPENAI_LOG", "debug")
    real = importlib.metadata.version
    for version, code in (("2.20.0", 1), ("3.54.0", 0)):
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name, version=version: version if name == "openai" else real(name)
        )
        assert safellm("doctor").exit_code == code


@pytest.mark.parametrize(
    ("sdk", "version", "code"),
    [
        ("openai", "1.99.0", 1),
        ("openai", "2.0.0", 0),
        ("openai", "3.54.0", 0),
        ("openai", "4.0.0", 1),
        ("anthropic", "0.120.9", 1),
        ("anthropic", "0.121.0", 0),
        ("google-genai", "1.49.0", 1),
        ("google-genai", "3.4.0", 0),
    ],
)
def test_doctor_checks_the_sdks_version(
    safellm: Any, vault: Any, monkeypatch: pytest.MonkeyPatch, sdk: str, version: str, code: int
) -> None:
    """Only the supported versions are fine, of every SDK."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == sdk else real(name))
    assert safellm("doctor").exit_code == code


def test_doctor_supports_what_the_package_requires() -> None:
    """Its ranges of versions are those that pip is told."""
    from safellm.cli.doctor_checks import SDKS

    wanted = {f"{name}>={'.'.join(map(str, a))},<{'.'.join(map(str, b))}" for name, (a, b) in SDKS.items()}
    said = [line.partition(";")[0].replace(" ", "") for line in importlib.metadata.requires("safellm") or ()]
    assert wanted <= {re.sub(r"(<[^,>]+),(>=.+)", r"\2,\1", line) for line in said}


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
