"""SARIF 2.1.0 (OASIS), which code hosts and editors show at the lines: the one writer, for `scan` and `discover`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from safellm._version import __version__
from safellm.scan.leaks import Leak, Report

_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One rule of a log.

    Attributes:
        id: As results name it.
        about: What it finds, in one sentence.
        level: error, warning or note (3.27.10).
        help: What to do.
        uri: A page about it.
        name: For people who read the log itself.
    """

    id: str
    about: str
    level: str
    help: str = ""
    uri: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One result of a log.

    Attributes:
        kind: Id of its rule.
        level: Its own, which may be another than its rule's.
        text: What is said at the line.
        file: Its name, with forward slashes.
        line: From 1; 0: no line of the file itself, as in a notebook.
        column: From 1, in characters.
        fingerprint: The same for the same finding when lines above it change.
    """

    kind: str
    level: str
    text: str
    file: str
    line: int
    column: int
    fingerprint: str


def make_log(tool: str, kinds: Iterable[Kind], places: Iterable[Place], *, below_root: bool = False) -> dict[str, Any]:
    """Return a log of one run.

    Args:
        tool: Its name.
        kinds: Its rules.
        places: Its results; each names one of the rules.
        below_root: Files are relative to the folder that was searched, wherever that is.
    """
    known = list(kinds)
    order = {one.id: index for index, one in enumerate(known)}
    version = {"version": __version__, "semanticVersion": __version__}
    run = {
        "tool": {"driver": {"name": tool, **version, "rules": [_rule(one) for one in known]}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, order[one.kind], below_root=below_root) for one in places],
    }
    if below_root:
        run["originalUriBaseIds"] = {"ROOT": {"description": {"text": "The folder that was searched."}}}
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def to_sarif(report: Report) -> dict[str, Any]:
    """Return the log of a scan: a rule for each kind that was found."""
    found = {one.rule: one for one in report.leaks}
    kinds = [
        Kind(id=name, about=_about(one), level=_LEVELS[one.severity], help=one.remedy, uri=one.revoke)
        for name, one in sorted(found.items())
    ]
    places = (
        Place(
            kind=one.rule,
            level=_LEVELS[one.severity],
            text=f"{one.masked} at {one.place}.{f' It {one.note}.' if one.note else ''} {one.remedy}",
            file=one.file,
            line=0 if one.cell else one.line,
            column=one.column,
            fingerprint=one.fingerprint,
        )
        for one in report.leaks
    )
    return make_log("safellm scan", kinds, places)


def _about(one: Leak) -> str:
    whose = f" of {one.provider}" if one.provider else ""
    return f"A link{whose} gives away too much." if one.is_link else f"A secret{whose} stands in a file."


def _rule(one: Kind) -> dict[str, Any]:
    return {
        "id": one.id,
        **({"name": one.name} if one.name else {}),
        "shortDescription": {"text": one.about},
        **({"help": {"text": one.help}} if one.help else {}),
        **({"helpUri": one.uri} if one.uri else {}),
        "defaultConfiguration": {"level": one.level},
    }


def _result(one: Place, index: int, *, below_root: bool) -> dict[str, Any]:
    # An absolute name is an address of its own (RFC 8089), a relative one is relative to where the log is read.
    path = PurePath(one.file)
    uri = path.as_uri() if path.is_absolute() else quote(one.file)
    base = {"uriBaseId": "ROOT"} if below_root else {}
    region = {"region": {"startLine": one.line, "startColumn": one.column}} if one.line else {}
    return {
        "ruleId": one.kind,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": one.text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri, **base}, **region}}],
        "partialFingerprints": {"safellm/v1": one.fingerprint},
    }
