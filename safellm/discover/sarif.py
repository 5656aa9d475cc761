"""A report as a SARIF log."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from typing import Any

from safellm.discover.findings import RULES, Finding, Report
from safellm.scan.sarif import Kind, Place, make_log


def to_sarif(report: Report) -> dict[str, Any]:
    """Return the log of a report: a rule for each kind, paths relative to the folder that was searched."""
    kinds = [
        Kind(id=one.id, name=one.name, about=one.about, help=one.remedy, level=one.level.value)
        for one in RULES.values()
    ]
    return make_log("safellm", kinds, map(_place, report.findings), below_root=True)


def _place(one: Finding) -> Place:
    rule = RULES[one.rule]
    place = f" (cell {one.cell}, line {one.line})" if one.cell else ""
    return Place(
        kind=one.rule,
        level=one.level.value,
        text=f"{one.what}{place}: {rule.about} {rule.remedy}",
        file=one.file,
        line=0 if one.cell else one.line,
        column=one.column,
        fingerprint=hashlib.sha256(f"{one.file}\0{one.rule}\0{one.what}".encode()).hexdigest()[:32],
    )
