"""Each example runs offline and prints what it promises."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMISED = {
    "developer.py": ["left this machine:  Write to X-EMAIL-", "Write to jane.roe@example.com", "safellm.Refused: True"],
    "fleet.py": [
        "billing: 5 calls",
        "research: 5 calls, refused: grant.denied",
        "answered in all: 7",
        "mail addresses that the provider got: 0",
        "the ledger says: 7 of 7 requests",
        "report: ",
    ],
    "leaks.py": [
        f"by {way}, {client}: the stranger got {what} ({said}"
        for way, client, what, said in (
            ("a variable", "plain openai", "the key and the prompt", "PermissionDeniedError"),
            ("a variable", "openai with safellm", "nothing", "refused: The address"),
            ("a redirect", "plain openai", "the prompt", "PermissionDeniedError"),
            ("a redirect", "openai with safellm", "nothing", "refused: egress.origin"),
            ("a variable", "plain anthropic", "the key and the prompt", "PermissionDeniedError"),
            ("a variable", "anthropic with safellm", "nothing", "refused: The address"),
            ("a redirect", "plain anthropic", "the prompt", "PermissionDeniedError"),
            ("a redirect", "anthropic with safellm", "nothing", "refused: egress.origin"),
            ("a variable", "plain google-genai", "the key and the prompt", "ClientError"),
            ("a variable", "google-genai with safellm", "nothing", "refused: The address"),
            ("a redirect", "plain google-genai", "the key and the prompt", "ClientError"),
            ("a redirect", "google-genai with safellm", "nothing", "refused: egress.origin"),
        )
    ],
    "platform_team.py": ["billing: answered", "redaction.blocked", "budget.exceeded", "is locked in"],
    "security_engineer.py": [
        "'EMAIL': 1",
        "egress.origin (collector.example)",
        "verified: 4 records",
        "its hash doesn't fit",
    ],
}


def test_every_example_is_run_here() -> None:
    """No example without a test."""
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(PROMISED)


@pytest.mark.usefixtures("started_before")
@pytest.mark.parametrize("name", sorted(PROMISED))
def test_example_runs_offline_and_prints(name: str, home: Path, tmp_path: Path) -> None:
    """It ends well from any working directory, writes nothing there, and prints its results."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in PROMISED[name]:
        assert text in done.stdout, done.stdout
    assert list(folder.iterdir()) == []


def test_policy_of_the_example_is_sound() -> None:
    """The command finds no problem in it."""
    from safellm.stores.settings import check_file

    assert check_file(EXAMPLES / "platform_policy.toml") == []
