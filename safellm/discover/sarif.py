"""A report as SARIF 2.1.0 (OASIS), which code hosts and editors show at the lines."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from safellm._version import __version__
from safellm.discover.findings import RULES, Finding, Report


def to_sarif(report: Report) -> dict[str, Any]:
    """Return the SARIF log of a report: one run, a rule for each kind, paths relative to the folder that was searched."""
    order = list(RULES)
    rules = [
        {
            "id": rule.id,
            "name": rule.name,
            "shortDescription": {"text": rule.about},
            "help": {"text": rule.remedy},
            "defaultConfiguration": {"level": rule.level.value},
        }
        for rule in RULES.values()
    ]
    driver = {"name": "safellm", "version": __version__, "semanticVersion": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"ROOT": {"description": {"text": "The folder that was searched."}}},
        "results": [_result(one, order.index(one.rule)) for one in report.findings],
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _result(one: Finding, index: int) -> dict[str, Any]:
    rule = RULES[one.rule]
    place = f" (cell {one.cell}, line {one.line})" if one.cell else ""
    region = {} if one.cell else {"region": {"startLine": one.line, "startColumn": one.column}}
    location = {"artifactLocation": {"uri": quote(one.file), "uriBaseId": "ROOT"}, **region}
    return {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": one.level.value,
        "message": {"text": f"{one.what}{place}: {rule.about} {rule.remedy}"},
        "locations": [{"physicalLocation": location}],
        # The same finding keeps its identity when lines above it change.
        "partialFingerprints": {
            "safellm/v1": hashlib.sha256(f"{one.file}\0{one.rule}\0{one.what}".encode()).hexdigest()[:32]
        },
    }
