"""`safellm redact`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
MAIL = "jane.doe@corp-mail.org"
CARD = "4111111111111111"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for files."""
    made = tmp_path / "files"
    made.mkdir()
    return made


def test_a_pipe_is_redacted(safellm: Command) -> None:
    """Standard input to standard output, with nothing else in it."""
    result = safellm("redact", stdin=f"Mail {MAIL}\n")
    assert result.exit_code == 0
    assert result.stdout.startswith("Mail X-EMAIL-")
    assert result.stdout.endswith("\n")
    assert MAIL not in result.output


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_comes_back_by_its_mapping(safellm: Command, folder: Path, encoding: str) -> None:
    """Redacted with a mapping file and restored with it, a file has the same bytes; the mapping tells nothing."""
    source, hidden, mapping = folder / "a.txt", folder / "b.txt", folder / "map"
    source.write_bytes(f"Grüße an {MAIL},\r\n\tKarte {CARD}\n".encode(encoding))
    redacted = safellm("redact", str(source), "--mapping", str(mapping))
    assert redacted.exit_code == 0
    hidden.write_bytes(redacted.stdout_bytes)
    assert MAIL.encode(encoding)[2:] not in hidden.read_bytes()
    restored = safellm("redact", str(hidden), "--restore", "--mapping", str(mapping))
    assert restored.exit_code == 0
    assert restored.stdout_bytes == source.read_bytes()
    assert MAIL.encode() not in mapping.read_bytes()
    assert os.name != "posix" or mapping.stat().st_mode & 0o077 == 0


def test_the_same_value_keeps_its_placeholder_over_runs(safellm: Command, folder: Path) -> None:
    """A mapping file is one conversation; without it each run is its own."""
    mapping = str(folder / "map")
    runs = [safellm("redact", "--mapping", mapping, stdin=MAIL).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len({safellm("redact", stdin=MAIL).stdout for _ in range(2)} | {runs[0]}) == 3


def test_r_7_restoring_knows_positions(safellm: Command, folder: Path) -> None:
    """A value stays hidden inside a URL, the user is told, and `--everywhere` overrides."""
    mapping = str(folder / "map")
    hidden = safellm("redact", "--mapping", mapping, stdin=f"{MAIL} http://e.example/?q={MAIL}").stdout
    result = safellm("redact", "--restore", "--mapping", mapping, stdin=hidden)
    assert result.stdout.startswith(f"{MAIL} http://e.example/?q=X-EMAIL-")
    assert "--everywhere" in result.stderr
    assert result.exit_code == 1
    result = safellm("redact", "--restore", "--everywhere", "--mapping", mapping, stdin=hidden)
    assert result.stdout == f"{MAIL} http://e.example/?q={MAIL}"
    assert result.exit_code == 0


def test_json_lines_stay_json_lines(safellm: Command, folder: Path) -> None:
    """Each text and number of each line is searched, escapes included, and the rest stays byte for byte."""
    line = '{"a" : "\\u006aane.doe@corp-mail.org", "n":4111111111111111,  "ok": 1.50}'
    path = folder / "a.jsonl"
    path.write_text(f"{line}\n\n{line}\n", "utf-8")
    out = safellm("redact", str(path)).stdout
    rows = [json.loads(row) for row in out.splitlines() if row]
    assert rows[0]["a"].startswith("X-EMAIL-")
    assert rows[0]["n"].startswith("X-CREDIT_CARD-")
    assert rows[0] == rows[1]
    assert '"ok": 1.50' in out


def test_json_output_has_findings_and_no_values(safellm: Command) -> None:
    """Places, rules and actions, for programs."""
    result = safellm("redact", "--json", stdin=f"Mail {MAIL}")
    document = json.loads(result.stdout)
    assert document["findings"][0]["type"] == "EMAIL"
    assert (document["findings"][0]["start"], document["findings"][0]["end"]) == (5, 5 + len(MAIL))
    assert MAIL not in result.stdout


def test_explain_shows_what_and_why(safellm: Command) -> None:
    """The text is shown as it is, with type, place and rule; controls are made visible."""
    result = safellm("redact", "--explain", stdin=f"\x1b[31mfirst\nMail {MAIL}")
    assert MAIL in result.stdout
    assert "EMAIL" in result.stdout
    assert "2:6" in result.stdout
    assert "\x1b" not in result.stdout
    assert "Nothing was found" in safellm("redact", "--explain", stdin="hello").stdout


def test_types_choose_and_act(safellm: Command) -> None:
    """A list hides these only; pairs set actions."""
    text = f"{MAIL} {CARD}"
    assert MAIL in safellm("redact", "--types", "CREDIT_CARD", stdin=text).stdout
    assert "@example." in safellm("redact", "--types", "EMAIL=surrogate", stdin=text).stdout
    assert safellm("redact", "--types", "EMAIL=block", stdin=text).exit_code == 1
    assert safellm("redact", "--types", "EMAIL=hide", stdin=text).exit_code == 2
    assert safellm("redact", "--types", "EMAIL,PHONE=block", stdin=text).exit_code == 2


@pytest.mark.parametrize("types", ["EMIAL", "EMAIL,PHNOE", "EMIAL=block", "CUSTOMER"])
def test_p6_a_type_that_nothing_finds_is_wrong_use(safellm: Command, types: str) -> None:
    """A misspelt type doesn't give the text back as if it were redacted."""
    result = safellm("redact", "--types", types, stdin=f"Write to {MAIL}.")
    assert result.exit_code == 2
    assert MAIL not in result.output
    assert "EMAIL" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["missing.txt"], ["--restore"], ["--restore", "--mapping", "missing"], ["{binary}"]], ids=str
)
def test_wrong_use_is_told(safellm: Command, folder: Path, arguments: list[str]) -> None:
    """Exit code 2, two sentences, no traceback."""
    (folder / "binary").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    result = safellm("redact", *(one.format(binary=folder / "binary") for one in arguments), stdin="")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_changed_mapping_is_refused(safellm: Command, folder: Path) -> None:
    """One changed byte, and nothing is restored from it."""
    mapping = folder / "map"
    hidden = safellm("redact", "--mapping", str(mapping), stdin=MAIL).stdout
    data = bytearray(mapping.read_bytes())
    data[-1] ^= 1
    mapping.write_bytes(data)
    result = safellm("redact", "--restore", "--mapping", str(mapping), stdin=hidden)
    assert result.exit_code == 1
    assert MAIL not in result.output
