"""Shared by all tests: a private folder and clean variables, loopback servers, and a check that nothing is left behind."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import importlib.util
import json
import logging
import os
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from trail_schema import check_trails

from safellm.stores import detection_cache
from safellm.stores.journal.files import find, verify_directory
from safellm.testing.faults import FaultServer
from safellm.testing.provider import LoopbackProvider
from safellm.testing.sink import Sink

# No deadline: how long an example takes depends on what else the machine does. In CI the examples are always the same, so that
# a run depends on the change alone; elsewhere they are new each time.
_IN_CI = bool(os.environ.get("CI"))
settings.register_profile("safellm", deadline=None, derandomize=_IN_CI, max_examples=60 if _IN_CI else 100)
settings.load_profile("safellm")

_FOREIGN = (
    "OPENAI_",
    "ANTHROPIC_",
    "CLOUD_ML_",
    "AZURE_OPENAI_",
    "AZURE_AD_",
    "SAFELLM_",
    "AWS_",
    "GOOGLE_",
    "GEMINI_",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "sslkeylogfile")
_THREADS_OF_POOLS = (
    "AnyIO worker",
    "asyncio_",
    "ThreadPoolExecutor",
    "safellm-behind",
)  # idle workers end by themselves
_GRACE_SECONDS = 2.0
_FEW_AUTHORITIES = 20
_TALKATIVE = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "safellm", "asyncio", "")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package that it would be in
        return False


# What isn't installed isn't tested; CI installs each of them in some session.
_NEEDS = {"anthropic": "anthropic", "google": "google.genai", "ner": "onnxruntime", "notebook": "jupyterlab"}
collect_ignore = [folder for folder, module in _NEEDS.items() if not _is_there(module)]


@cache
def _first_authority(file: str) -> str | None:
    """Return the first certificate of a system's list of authorities, or None for a file that is no such list."""
    try:
        text = Path(file).read_text("ascii", "replace")
    except OSError:
        return None
    first, end, others = text.partition("-----END CERTIFICATE-----")
    return first + end if others.count(end) > _FEW_AUTHORITIES else None


@pytest.fixture(autouse=True, scope="session")
def _few_authorities() -> Iterator[None]:
    """Clients trust one authority of the system instead of all: nothing here asks for more, and each client reads them anew.

    Reading all of them takes longer (20 ms) than most calls that are tested. Files of fewer certificates are read as they are.
    """
    whole = ssl.SSLContext.load_verify_locations

    def load(self: ssl.SSLContext, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        first = _first_authority(os.fspath(cafile)) if isinstance(cafile, str | os.PathLike) else None
        if first is None or cadata is not None:
            whole(self, cafile, capath, cadata)
        else:
            whole(self, None, capath, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", load)
        yield


@pytest.fixture(autouse=True)
def _own_values() -> Iterator[None]:
    """Values that a test registers or marks end with it: they are the process's, and answers of other tests may hold them."""
    yield
    registered, marked = map(sys.modules.get, ("safellm.stores.registered", "safellm.stores.marked"))
    if registered is not None:
        registered.REGISTER.values = ()  # type: ignore[attr-defined]
    if marked is not None:
        marked._values.clear()
        marked._unread.clear()
        marked.others.cache_clear()


_read_image = lru_cache(maxsize=2)(detection_cache.read_image)  # the same bytes, the same scanner


@pytest.fixture(scope="session")
def compiled_rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detection rules as a first start keeps them: in a home that has them, a program starts in half the time."""
    folder = tmp_path_factory.mktemp("compiled")
    detection_cache.cached_scanner(folder)
    (file,) = folder.iterdir()
    return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled_rules: Path) -> Iterator[Path]:
    """A folder of its own for everything that safellm writes, and no variable from outside; not the first start in it.

    The user's own key store is switched off: a test must neither read nor unlock it.
    """
    for name in os.environ:
        if name.startswith(_FOREIGN) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
    folder = tmp_path / "safellm home"
    monkeypatch.setenv("SAFELLM_HOME", str(folder))
    monkeypatch.setenv("SAFELLM_KEYS_VAULT", "false")
    folder.mkdir(mode=0o700)
    os.link(compiled_rules, folder / compiled_rules.name)
    monkeypatch.setattr(detection_cache, "read_image", _read_image)
    yield folder
    _close_stores()
    check_trails(folder)


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    """A provider on this machine."""
    with LoopbackProvider() as server:
        yield server


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A server where nothing may arrive; checked when the test ends."""
    with Sink() as server:
        yield server
        server.assert_untouched()


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    """A server that breaks in the ways that servers do."""
    with FaultServer(stall_seconds=20) as server:
        yield server


@pytest.fixture
def records(home: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return all records of the trail, oldest first, after the trail was verified."""

    def read() -> list[dict[str, Any]]:
        found = verify_directory(home / "audit")
        assert found.ok, found.explain()
        lines = [line for file in find(home / "audit") for line in file.path.read_bytes().splitlines()]
        return [json.loads(line) for line in lines]

    return read


@pytest.fixture
def outcome(records: Callable[[], list[dict[str, Any]]]) -> Callable[[], dict[str, Any]]:
    """Return the last outcome; every intent must have one by then."""

    def read() -> dict[str, Any]:
        found = records()
        intents = [one["event.id"] for one in found if one["event.name"] == "call.intent"]
        ended = [one["event.parent"] for one in found if one["event.name"] == "call.outcome"]
        assert sorted(intents) == sorted(ended)
        return [one for one in found if one["event.name"] == "call.outcome"][-1]

    return read


@pytest.fixture
def debug_logs() -> Iterator[list[str]]:
    """Everything that the SDKs and the HTTP libraries log, at their most talkative."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name}: {record.getMessage()} {record.args!r}")

    keep = Keep(level=logging.DEBUG)
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(keep)
    yield lines
    for logger, level in before:
        logger.removeHandler(keep)
        logger.setLevel(level)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail when a thread outlives the test; collect garbage, so that an unclosed file or socket warns (an error here).

    What earlier tests left is thrown away first, without a word: it would be told of this one, and what is never collected
    adds up to thousands of clients and stores.
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(sys, "unraisablehook", lambda _: None)
        gc.collect()
    gc.freeze()  # what is alive now is not walked again: a collection takes a tenth of the time
    before = set(threading.enumerate())
    yield
    gc.collect()
    new = [one for one in threading.enumerate() if one not in before and not one.name.startswith(_THREADS_OF_POOLS)]
    for thread in new:
        thread.join(_GRACE_SECONDS)  # one that is just ending is no leak
    assert not [thread.name for thread in new if thread.is_alive()]


def _close_stores() -> None:
    """Close ledgers and trails that clients shared in this process: they live as long as it does otherwise."""
    for module, forget in (
        ("safellm.stores.journal.metrics", "_watched.clear"),
        ("safellm.stores.tools", "TOOLBOX.reset"),
        ("safellm.stores.ledger.choose", "LEDGERS.clear"),
        ("safellm.stores.journal.open", "JOURNALS.clear"),
        ("safellm.stores.registered", "REGISTER.clear"),  # what one test hides is not hidden for the next
    ):
        if module in sys.modules:
            attrgetter(forget)(sys.modules[module])()
    client = sys.modules.get("safellm.client")
    if client is None:
        return
    client._install_key.cache_clear()
    from safellm.stores.journal import jsonl
    from safellm.stores.ledger import forks

    # What a test's objects still hold would add up to more descriptors than a process may have.
    ledgers = [known() for known in list(forks._WATCH._stores)]
    for store in [*jsonl._LIVE, *ledgers]:
        with suppress(Exception):  # a test may have broken it on purpose
            store.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run that skipped anything: every component is installed by the session that runs the tests."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if skipped and os.environ.get("CI") and not os.environ.get("TESTS_MAY_SKIP"):
        reporter.write_line(f"{len(skipped)} tests were skipped, and CI may not skip (see the reasons above)", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
