"""How good is detection on your own texts: `python -m safellm.testing.evaluate FILE`.

FILE has one JSON object a line:

    {"text": "Mail to jane@example.com", "spans": [{"start": 8, "end": 24, "label": "EMAIL"}], "annotated": ["EMAIL", "PHONE"]}

`start` and `end` count code points. `annotated` names the labels that are complete in that text; a finding of another type is
neither right nor wrong there. Without it, the text is complete for every label of the file.

A finding is right when it overlaps a span of its label. Recall is the share of spans that a right finding overlaps, precision the
share of findings that are right, `covered` the share of spans of which findings of any type hide every character.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safellm._core.detection.finding import Finding
from safellm.errors import ConfigurationError

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a person says is there."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One labelled text; `annotated` is None when it is complete for every label."""

    text: str
    spans: tuple[Span, ...]
    annotated: frozenset[str] | None = None


@dataclass(slots=True, kw_only=True)
class Score:
    """Counts for one label."""

    spans: int = 0
    found: int = 0
    covered: int = 0
    findings: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Share of spans that were found; 1 when there are none."""
        return self.found / self.spans if self.spans else 1.0

    @property
    def precision(self) -> float:
        """Share of findings that are right; 1 when there are none."""
        return self.right / self.findings if self.findings else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(slots=True, kw_only=True)
class Report:
    """The result over a file.

    Attributes:
        labels: One score for each label of the file.
        examples: How many texts.
        clean: How many of them have no span.
        flagged: In how many of the clean ones something of a label that counts was found.
        size: Bytes of all texts in UTF-8.
        time_ns: Processor time of all searches.
    """

    labels: dict[str, Score] = field(default_factory=dict)
    examples: int = 0
    clean: int = 0
    flagged: int = 0
    size: int = 0
    time_ns: int = 0

    @property
    def total(self) -> Score:
        """All labels together."""
        scores = self.labels.values()
        return Score(
            spans=sum(one.spans for one in scores),
            found=sum(one.found for one in scores),
            covered=sum(one.covered for one in scores),
            findings=sum(one.findings for one in scores),
            right=sum(one.right for one in scores),
        )

    @property
    def bytes_per_second(self) -> float:
        """Speed; 0 when nothing was searched."""
        return self.size * _NS_PER_S / self.time_ns if self.time_ns else 0.0

    def as_text(self) -> str:
        """Return the report as a table."""
        lines = [f"{'label':<18}{'spans':>7}{'precision':>11}{'recall':>8}{'F1':>7}{'covered':>9}"]
        for label, score in [*sorted(self.labels.items()), ("all", self.total)]:
            covered = score.covered / score.spans if score.spans else 1.0
            lines.append(
                f"{label:<18}{score.spans:>7}{score.precision:>11.3f}{score.recall:>8.3f}{score.f1:>7.3f}{covered:>9.3f}"
            )
        flagged = f"{self.flagged} of {self.clean} texts without a span were flagged"
        speed = f"{self.bytes_per_second / 1e6:.1f} MB/s"
        return "\n".join((*lines, "", f"{self.examples} texts, {speed}; {flagged}."))


def read_examples(path: str | Path) -> list[Example]:
    """Return the labelled texts of a file.

    Raises:
        ConfigurationError: A line is not as the module's text says.
    """
    examples: list[Example] = []
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    examples.append(_example(json.loads(line)))
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise ConfigurationError(
                        "A line is no labelled text",
                        remedy='Write {"text": "...", "spans": [{"start": 0, "end": 3, "label": "EMAIL"}]}.',
                        where=f"{path}:{number}",
                    ) from None
    return examples


def evaluate(examples: Iterable[Example], detect: Callable[[str], Sequence[Finding]] | None = None) -> Report:
    """Return how well a detector does.

    Args:
        examples: Labelled texts.
        detect: What finds; None for `safellm.detect`.
    """
    if detect is None:
        from safellm.redaction import detect as own  # noqa: PLC0415 - the engine, only when it is asked

        detect = own
    todo = list(examples)
    labels = {span.label for example in todo for span in example.spans}
    labels |= {label for example in todo for label in example.annotated or ()}
    report = Report(labels={label: Score() for label in sorted(labels)})
    detect("warm")
    for example in todo:
        begun = time.thread_time_ns()
        found = detect(example.text)
        report.time_ns += time.thread_time_ns() - begun
        report.size += len(example.text.encode("utf-8", "surrogatepass"))
        report.examples += 1
        counted = [one for one in found if one.type in (labels if example.annotated is None else example.annotated)]
        report.clean += not example.spans
        report.flagged += bool(counted) and not example.spans
        _count(report.labels, example, counted, found)
    return report


def _count(scores: dict[str, Score], example: Example, counted: Sequence[Finding], found: Sequence[Finding]) -> None:
    for span in example.spans:
        score = scores[span.label]
        score.spans += 1
        score.found += any(one.type == span.label and _overlap(one, span) for one in counted)
        hidden = {index for one in found for index in range(max(one.start, span.start), min(one.end, span.end))}
        score.covered += len(hidden) == span.end - span.start
    for one in counted:
        score = scores[one.type]
        score.findings += 1
        score.right += any(span.label == one.type and _overlap(one, span) for span in example.spans)


def _overlap(finding: Finding, span: Span) -> bool:
    return finding.start < span.end and span.start < finding.end


def _example(row: dict[str, Any]) -> Example:
    text = row["text"] if "text" in row else "".join(row["parts"])
    spans = tuple(
        Span(start=int(one["start"]), end=int(one["end"]), label=str(one.get("label", "SECRET")))
        for one in row["spans"]
    )
    if not isinstance(text, str) or any(not 0 <= one.start < one.end <= len(text) for one in spans):
        raise ValueError
    annotated = row.get("annotated")
    return Example(text=text, spans=spans, annotated=None if annotated is None else frozenset(map(str, annotated)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluation of a file and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m safellm.testing.evaluate", description="Precision, recall and speed."
    )
    parser.add_argument("file", help="labelled texts, one JSON object a line")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    try:
        report = evaluate(read_examples(options.file))
    except ConfigurationError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{options.file}: {error.strerror}")
    if options.json:
        rows = {
            label: {"spans": one.spans, "precision": one.precision, "recall": one.recall, "f1": one.f1}
            for label, one in [*report.labels.items(), ("all", report.total)]
        }
        print(json.dumps({"labels": rows, "clean": report.clean, "flagged": report.flagged}, indent=2))  # noqa: T201
    else:
        print(report.as_text())  # noqa: T201 - this is the command's answer
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
