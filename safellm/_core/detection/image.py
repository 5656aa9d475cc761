"""A compiled scanner as bytes, so that a later process needn't read the rule files and compile the filters again.

Reading the rules takes about 30 ms and compiling the filters some hundred; reading an image takes about 5. It holds what is known
about the words before numbers, too: making that takes as long again. An image fits one version of rules and engine: `image_key`
names it. Who keeps images checks that the bytes are those that were kept (`safellm.stores`); what is read here proves itself by
finding a planted value.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from safellm._core.detection.filters import engine_version
from safellm._core.detection.packaged import package_files
from safellm._core.detection.reach import Reach
from safellm._core.detection.rules import Rule
from safellm._core.detection.scanner import RuleScanner, compile_scanner, make_scanner, reach_of_rule
from safellm._core.detection.words import keep_label_tables, label_tables
from safellm._version import __version__

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FORMAT = b"safellm-detection-2\n"
# What turns rule files into filters, and words into labels.
_SOURCES = (
    "rules.py", "filters.py", "scanner.py", "quickview.py", "pages.py", "reach.py", "alternatives.py", "words.py", "canonical.py",
    "confusables.py", "data/words/labels.toml",
)  # fmt: skip
_EXAMPLES = frozenset({"matches", "ignores"})  # only tests read them


def image_key() -> str:
    """Return the name of the image that fits the rules of this package and the engine of this process (64 hex digits)."""
    digest = hashlib.sha256(_FORMAT + f"{__version__} {engine_version()}".encode())
    package = package_files()
    rules = sorted((entry for entry in (package / "data").iterdir() if entry.name.endswith(".toml")), key=_name)
    for entry in (*rules, *(package.joinpath(*source.split("/")) for source in _SOURCES)):
        digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()


def _name(entry: Traversable) -> str:
    return entry.name


def make_image() -> tuple[RuleScanner, bytes]:
    """Return the scanner over the package's rules, compiled, and its image."""
    scanner = compile_scanner()
    parts = {part.name: part.default for part in fields(Rule) if part.name not in _EXAMPLES}
    tables = [
        {name: value for name, usual in parts.items() if (value := getattr(rule, name)) != usual}
        for rule in scanner.rules
    ]
    rules = json.dumps([tables, [int(reach_of_rule(rule)) for rule in scanner.rules], label_tables()]).encode()
    return scanner, _FORMAT + len(rules).to_bytes(8, "big") + rules + scanner.filters.database()


def read_image(image: bytes | memoryview) -> RuleScanner:
    """Return the scanner of an image whose key and checksum were compared.

    Raises:
        ValueError: It is no image.
        GuardFailure: The engine rejects it, or it does not find the planted value.
    """
    head = len(_FORMAT)
    if image[:head] != _FORMAT:
        msg = "not an image of a scanner"
        raise ValueError(msg)
    size = int.from_bytes(image[head : head + 8], "big")
    tables, reaches, labels = json.loads(bytes(image[head + 8 : head + 8 + size]))
    keep_label_tables(labels)
    rules = tuple(Rule(**{name: _frozen(value) for name, value in table.items()}) for table in tables)
    return make_scanner(rules, image[head + 8 + size :] or None, reaches=[Reach(one) for one in reaches])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
