"""Findings that are known: a file of fingerprints, without a value or anything that one could be guessed from."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safellm.errors import ConfigurationError
from safellm.scan.leaks import Leak

_VERSION = 1


def read_baseline(path: Path) -> frozenset[str]:
    """Return the fingerprints of a baseline.

    Raises:
        ConfigurationError: it can't be read or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = data["findings"]
        if data["v"] != _VERSION or not all(isinstance(one, dict) for one in known):
            raise ValueError
        return frozenset(str(one["fingerprint"]) for one in known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is none"
        raise ConfigurationError(
            f"The baseline can't be read ({what})",
            remedy="Write one: safellm scan --write-baseline FILE.",
            where=str(path),
        ) from None


def write_baseline(path: Path, leaks: Iterable[Leak]) -> None:
    """Write the fingerprints of findings, with their places for people who review it.

    Raises:
        ConfigurationError: it can't be written.
    """
    known = [{"fingerprint": one.fingerprint, "rule": one.rule, "file": one.file, "line": one.line} for one in leaks]
    known.sort(key=lambda one: (str(one["file"]), str(one["line"]), str(one["fingerprint"])))
    try:
        path.write_text(json.dumps({"v": _VERSION, "findings": known}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"The baseline can't be written ({error.strerror})", remedy="Give another file.", where=str(path)
        ) from None
