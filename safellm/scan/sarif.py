"""A report as SARIF 2.1.0 (OASIS), which code hosts and editors show at the lines."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any
from urllib.parse import quote

from safellm._version import __version__
from safellm.scan.leaks import Leak, Report

_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}


def to_sarif(report: Report) -> dict[str, Any]:
    """Return the log of a report: one run, a rule for each kind that was found."""
    kinds = {one.rule: one for one in report.leaks}
    rules = [
        {
            "id": name,
            "shortDescription": {"text": f"A secret{f' of {one.provider}' if one.provider else ''} stands in a file."},
            **({"helpUri": one.revoke} if one.revoke else {}),
            "defaultConfiguration": {"level": _LEVELS[one.severity]},
        }
        for name, one in sorted(kinds.items())
    ]
    driver = {"name": "safellm scan", "version": __version__, "semanticVersion": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one) for one in report.leaks],
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _result(one: Leak) -> dict[str, Any]:
    note = f" It {one.note}." if one.note else ""
    return {
        "ruleId": one.rule,
        "level": _LEVELS[one.severity],
        "message": {"text": f"Secret {one.masked} at {one.place}.{note} {one.remedy}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(one.file)},
                    "region": {"startLine": one.line, "startColumn": one.column},
                }
            }
        ],
        "partialFingerprints": {"safellm/v1": one.fingerprint},
    }
