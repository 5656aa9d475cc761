"""Kept content held against the trail: what is there, what was erased and recorded so, what is missing, what was changed.

Needs no key: records hold the digests of what is encrypted.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from safellm.stores.content.store import Standing, digest_of, standing

ERASE: Final = "content.erase"
_PARTS: Final = {"call.intent": ("event.id", "in"), "call.outcome": ("event.parent", "out")}


@dataclass(slots=True)
class Named:
    """What the records of a trail name."""

    parts: dict[tuple[str, str], str] = field(default_factory=dict)
    erasures: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        event = record.get("event.name")
        if event in _PARTS:
            id_name, part = _PARTS[event]
            digest = record.get(f"safellm.content.sealed_{part}")
            if isinstance(digest, str):
                self.parts[str(record.get(id_name)), part] = digest
        elif event == ERASE:
            count, digest = record.get("safellm.content.erased"), record.get("safellm.content.erased_sha256")
            if isinstance(count, int) and isinstance(digest, str):
                self.erasures[str(record.get("event.id"))] = (count, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCheck:
    """How content stands to the trail; names of calls where something is wrong, with the part."""

    kept: int
    erased: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    unnamed: int  # kept, and named by no record here: of pruned ones, or of a call that ended before its record

    @property
    def ok(self) -> bool:
        """Whether all that the trail names is there as it was, or was erased on record."""
        return not (self.missing or self.altered)

    def explain(self) -> str:
        """Return it in one sentence."""
        text = f"Content: {self.kept} parts are as they were kept, {self.erased} were erased on record"
        if self.missing:
            text += f", {len(self.missing)} are MISSING (first: {self.missing[0]})"
        if self.altered:
            text += f", {len(self.altered)} were CHANGED (first: {self.altered[0]})"
        if self.unnamed:
            text += f"; {self.unnamed} more belong to no record that is here"
        return text + "."


def check(directory: Path, records: Iterable[Mapping[str, Any]]) -> ContentCheck | None:
    """Hold the content of a trail against its records; None where there was never any.

    Raises:
        ConfigurationError: it can't be read.
    """
    found = standing(directory)
    named = Named()
    for record in records:
        named.add(record)
    if found is None:
        if not named.parts:
            return None
        found = Standing(kept={}, erased={})
    return compare(found, named)


def compare(found: Standing, named: Named) -> ContentCheck:
    """Hold what is there against what the records name."""
    batches: dict[str, list[str]] = {}
    for digest, batch in found.erased.values():
        batches.setdefault(batch, []).append(digest)
    # An erasure counts if the chain says so: of just these parts.
    true = {
        batch for batch, digests in batches.items() if named.erasures.get(batch) == (len(digests), digest_of(digests))
    }
    kept = erased = 0
    missing, altered = [], []
    for key, digest in named.parts.items():
        name = f"{key[0]} {key[1]}"
        if key in found.kept:
            if found.kept[key] == digest:
                kept += 1
            else:
                altered.append(name)
        elif key in found.erased and found.erased[key][0] == digest and found.erased[key][1] in true:
            erased += 1
        else:
            missing.append(name)
    return ContentCheck(
        kept=kept,
        erased=erased,
        missing=tuple(missing),
        altered=tuple(altered),
        unnamed=len(found.kept.keys() - named.parts.keys()),
    )
