"""The evaluator counts right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safellm._core.detection.finding import Finding
from safellm.errors import ConfigurationError
from safellm.testing.evaluate import Example, Span, evaluate, main, read_examples

TEXT = "0123456789" * 3


def find(*found: tuple[str, int, int]) -> object:
    """Return a detector that finds this in every text but its own warm-up."""
    findings = [Finding(type=kind, rule="r", start=start, end=end) for kind, start, end in found]
    return lambda text: findings if text == TEXT else []


def spans(*marked: tuple[str, int, int]) -> tuple[Span, ...]:
    """Return spans."""
    return tuple(Span(label=label, start=start, end=end) for label, start, end in marked)


def test_overlap_counts_and_covering_is_told_apart() -> None:
    """A finding that overlaps is right; a span is covered only when all of it is hidden."""
    report = evaluate([Example(text=TEXT, spans=spans(("A", 0, 10), ("A", 20, 25)))], find(("A", 5, 12)))  # type: ignore[arg-type]
    score = report.labels["A"]
    assert (score.spans, score.found, score.covered, score.findings, score.right) == (2, 1, 0, 1, 1)
    assert (score.precision, score.recall) == (1.0, 0.5)
    assert score.f1 == pytest.approx(2 / 3)
    report = evaluate([Example(text=TEXT, spans=spans(("A", 0, 10)))], find(("A", 0, 4), ("B", 4, 10)))  # type: ignore[arg-type]
    assert report.labels["A"].covered == 1


def test_a_wrong_type_is_wrong_and_a_missing_one_is_missed() -> None:
    """Labels are told apart."""
    examples = [Example(text=TEXT, spans=spans(("A", 0, 10))), Example(text="x", spans=spans(("B", 0, 1)))]
    report = evaluate(examples, find(("B", 0, 10)))  # type: ignore[arg-type]
    assert (report.labels["A"].recall, report.labels["B"].precision) == (0.0, 0.0)
    assert (report.total.spans, report.total.findings, report.total.right) == (2, 1, 0)


def test_labels_that_are_not_annotated_do_not_count() -> None:
    """A finding of a type that nobody looked for in this text is neither right nor wrong."""
    example = Example(text=TEXT, spans=(), annotated=frozenset({"A"}))
    report = evaluate([example], find(("B", 0, 1)))  # type: ignore[arg-type]
    assert (report.flagged, report.clean, report.total.findings) == (0, 1, 0)
    report = evaluate([example], find(("A", 0, 1)))  # type: ignore[arg-type]
    assert (report.flagged, report.labels["A"].precision) == (1, 0.0)


def test_a_file_is_read_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command prints a row for each label with the package's own detection, and JSON when asked."""
    monkeypatch.setenv("SAFELLM_HOME", str(tmp_path))
    path = tmp_path / "rows.jsonl"
    mail = "jane.doe@corp-mail.org"
    row = {"text": f"Mail {mail}", "spans": [{"start": 5, "end": 5 + len(mail), "label": "EMAIL"}]}
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"parts": ["hel", "lo"], "spans": []}) + "\n", "utf-8")
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert "EMAIL" in out
    assert "1.000" in out
    assert "0 of 1 texts without a span" in out
    assert main([str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"]["all"]["f1"] == 1.0


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "[]",
        '{"text": "x"}',
        '{"text": 5, "spans": []}',
        '{"text": "x", "spans": [{"start": 0, "end": 9, "label": "A"}]}',
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    """The error says which line, and doesn't repeat it."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "x", "spans": []}\n' + line + "\n", "utf-8")
    with pytest.raises(ConfigurationError, match="rows.jsonl:2"):
        read_examples(path)
