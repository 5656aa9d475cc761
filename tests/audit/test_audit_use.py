"""Searching the trail, following it, and handing it to other systems."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from typer.testing import CliRunner

from safellm.audit.exports import FORMATS, as_ocsf
from safellm.audit.query import Query, parse_time, run_sql, select
from safellm.audit.reading import follow, records
from safellm.audit.walk import sum_up
from safellm.cli.app import app
from safellm.errors import ConfigurationError
from safellm.stores.journal.jsonl import JsonlJournal

NOW = 1_790_000_000_000_000_000
HOUR = 3600 * 10**9
NASTY = "<script>alert(1)</script>\"'\x1b[31m"  # as the trail has it


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["audit", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query(), 8),
        (Query(event="policy.*"), 2),
        (Query(model="gpt-*"), 3),
        (Query(user="g2"), 1),
        (Query(grant="g1", event="call.intent"), 2),
        (Query(decision="deny"), 2),
        (Query(finding="EMAIL"), 3),
        (Query(finding="PHONE"), 0),
        (Query(reason="budget.exceeded"), 2),
        (Query(since_ns=NOW + HOUR, until_ns=NOW + 2 * HOUR), 2),
        (Query(since_ns=NOW + 5 * HOUR), 2),
    ],
)
def test_each_condition_finds_its_records(trail: Path, query: Query, ids: int) -> None:
    """By time, model, user, grant, decision, finding, reason; all of them together."""
    found = [one for one in select(records(trail), query) if not one["event.name"].startswith("audit.")]
    if query == Query():
        ids = 7
    assert len(found) == ids


def test_times_are_read_in_several_ways() -> None:
    """A date, a moment, a time ago; others are an error."""
    assert parse_time("2026-01-01", now_ns=0) == 1_767_225_600 * 10**9
    assert parse_time("2026-01-01T01:00+01:00", now_ns=0) == 1_767_225_600 * 10**9
    assert parse_time("2h", now_ns=3 * HOUR) == HOUR
    with pytest.raises(ConfigurationError, match="no time"):
        parse_time("yesterday", now_ns=0)


def test_sql_reads_and_does_nothing_else(trail: Path, tmp_path: Path) -> None:
    """Columns and whole records; no file, no other statement."""
    names, rows = run_sql(
        "SELECT grant_id, sum(micro_usd) AS spent FROM events WHERE event = 'call.outcome' OR grant_id IS NOT NULL "
        "GROUP BY 1 ORDER BY 1", records(trail), most=10,
    )  # fmt: skip
    assert names == ["grant_id", "spent"]
    assert (None, 750) in rows
    whole = "SELECT json_extract(record, '$.\"server.port\"') FROM events WHERE id = 'call0'"
    assert run_sql(whole, records(trail), most=10)[1] == [(443,)]
    file = tmp_path / "x.db"
    for bad in (
        f"ATTACH '{file}' AS x",
        "DELETE FROM events",
        "PRAGMA database_list",
        "SELECT 1; SELECT 2",
        "SELEC",
        "\0",
    ):
        with pytest.raises(ConfigurationError, match="can't be run"):
            run_sql(bad, records(trail), most=10)
    assert not file.exists()


def test_query_command_shows_and_prints_json(trail: Path) -> None:
    """A table for people, records for programs, rows for SQL."""
    assert "budget.exceeded" in run("query", "--decision", "deny").stdout
    assert len(json.loads(run("query", "--decision", "deny", "--json").stdout)) == 2
    counted = run("query", "--event", "call.intent", "--sql", "SELECT count(*) AS n FROM events", "--json")
    assert json.loads(counted.stdout) == [{"n": 3}]
    assert "No record fits" in run("query", "--model", "nothing").stdout


def test_o_3_followed_records_drive_no_terminal(trail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tail -f` prints the last ones, then new ones; a model's name with an escape code is shown as text."""
    monkeypatch.setattr("safellm.audit.reading.follow", lambda _: iter(()))
    text = run("tail", "-f", "-n", "20").stdout
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    assert len(text.splitlines()) >= 7


def test_follow_sees_new_records_across_rotation(home: Path) -> None:
    """From now on, in order, each once; also into new files."""
    journal = JsonlJournal(home / "audit", sync="none", rotate_bytes=600)
    journal.append("test.before", {}, time_ns=NOW)
    turn = iter(range(100))

    def nap() -> None:
        number = next(turn)
        journal.append("test.event", {"n": number}, time_ns=NOW)
        journal.append("test.event", {"n": number + 1000}, time_ns=NOW)

    seen = [one["n"] for one in itertools.islice((r for r in follow(home / "audit", nap=nap) if "n" in r), 12)]
    journal.close()
    assert seen == [n for pair in range(6) for n in (pair, pair + 1000)]


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_export_has_a_line_for_each_record(trail: Path, form: str, tmp_path: Path) -> None:
    """On standard output and in a file, in ASCII, one line each."""
    text = run("export", "--format", form).stdout
    count = sum(1 for _ in records(trail))
    assert len(text.splitlines()) == count + (form == "csv")
    assert text.isascii()
    assert "\x1b" not in text
    out = tmp_path / "export"
    assert run("export", "--format", form, "--out", str(out)).exit_code == 0
    assert out.read_text("utf-8") == text
    if form != "csv":
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


def test_csv_is_read_back_by_the_standard_reader(trail: Path) -> None:
    """Every row has every column; a cell that would be a formula is text."""
    rows = list(csv.DictReader(run("export", "--format", "csv").stdout.splitlines()))
    assert {row["grant_id"] for row in rows} == {"", "g1", "g2"}
    assert sum(int(row["micro_usd"] or 0) for row in rows) == 750


def test_ocsf_events_attest_their_own_chain(trail: Path) -> None:
    """Required attributes of class 6003; a fingerprint is of the event's canonical bytes without it, and names the one before."""
    before = None
    for line in as_ocsf(records(trail)):
        event = json.loads(line)
        required = "activity_id category_uid class_uid metadata severity_id time type_uid actor api src_endpoint"
        assert set(required.split()) <= set(event)
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        (attestation,) = event["attestation_list"]
        fingerprint = attestation.pop("fingerprint")
        assert hashlib.sha256(rfc8785.dumps(event)).hexdigest() == fingerprint["value"]
        assert (attestation.get("prev_event") or {}).get("fingerprint") == before
        before = fingerprint
    with_model = [json.loads(line) for line in as_ocsf(select(records(trail), Query(event="call.outcome")))]
    assert with_model[0]["message_context"]["total_tokens"] == 120
    assert with_model[0]["ai_model"] == {"name": "gpt-5", "ai_provider": "openai"}


def test_parquet_holds_every_record_with_typed_columns(
    trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are numbers, the whole record is there; without pyarrow and without a file it is told what to do."""
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "records.parquet"
    assert run("export", "--format", "parquet", "--out", str(out)).exit_code == 0
    rows = parquet.read_table(out).to_pylist()
    found = list(records(trail))
    assert [row["seq"] for row in rows] == [one["seq"] for one in found]
    assert [json.loads(row["record"]) for row in rows] == found
    assert sum(row["micro_usd"] or 0 for row in rows) == 750
    assert out.stat().st_mode & 0o077 == 0 or os.name == "nt"
    assert "--out FILE" in run("export", "--format", "parquet").stderr
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "safellm[parquet]" in run("export", "--format", "parquet", "--out", str(out)).stderr


def test_otlp_lines_are_export_requests(trail: Path) -> None:
    """As the OTLP/JSON file exporter writes them: nanoseconds and integers as text, refusals as warnings."""
    lines = [json.loads(line) for line in run("export", "--format", "otlp").stdout.splitlines()]
    logs = [line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0] for line in lines]
    found = list(records(trail))
    assert [log["timeUnixNano"] for log in logs] == [one["time_ns"] for one in found]
    assert [log["severityNumber"] == 13 for log in logs] == [
        one.get("decision") == "deny" or "error.type" in one for one in found
    ]
    values = {one["key"]: one["value"] for one in logs[0]["attributes"]}
    assert values["seq"] == {"intValue": "1"}
    assert values["safellm.redaction.counts"] == {
        "kvlistValue": {"values": [{"key": "EMAIL", "value": {"intValue": "1"}}]}
    }


def test_alerts_are_listed_and_tried_on_the_trail(trail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rules would have raised, what was raised, the rules themselves; nothing is a plain answer too."""
    assert run("alerts").stdout == "No alert was raised.\n"
    assert "The policy has no alerts" in run("alerts", "--replay").stderr
    monkeypatch.setenv(
        "SAFELLM_ALERTS",
        '[{name = "no", count = "refusals", at_least = 2, within = "1m"}, {name = "m", new = "model"}]',
    )
    found = json.loads(run("alerts", "--replay", "--json").stdout)
    assert [one["safellm.alert.name"] for one in found] == ["m", "no"]
    assert found[0]["safellm.alert.subject"] == {"model": NASTY}
    text = run("alerts", "--replay").stdout
    assert "2 refusals within 1m" in text
    assert "\x1b" not in text
    assert "2 refusals or more within 1m" in run("alerts", "--rules").stdout
    journal = JsonlJournal(trail, sync="none")
    common = {"policy.digest": "a" * 64, "safellm.version": "1", "event.parent": "no1"}
    fields = {key: value for key, value in found[1].items() if key.startswith("safellm.")}
    journal.append("alert.raise", {**common, **fields}, time_ns=NOW + 6 * HOUR)
    journal.close()
    assert "2 refusals within 1m" in run("alerts").stdout
    assert "no: 2 refusals" in run("tail", "-n", "1").stdout
    assert json.loads(run("alerts", "--since", "2030-01-01", "--json").stdout) == []
    summary, _ = sum_up(trail, trail.parent)
    assert summary.alerts == {"no": 1}


def test_unknown_format_and_unwritable_file_are_told(trail: Path, tmp_path: Path) -> None:
    """With the way out."""
    assert "json, csv, otlp, ocsf" in run("export", "--format", "xml").stderr
    assert run("report", "--out", str(tmp_path / "no" / "page.html")).exit_code == 2


def test_report_command_writes_the_page(trail: Path, tmp_path: Path) -> None:
    """Also where it takes several processes."""
    out = tmp_path / "page.html"
    assert "records" in run("report", "--out", str(out)).stdout
    assert "LLM calls" in out.read_text("utf-8")
