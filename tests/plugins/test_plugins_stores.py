"""Sinks, ledgers, vaults and providers of installed packages: used where the policy names them, by nobody else."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import safellm
from safellm import plugins
from safellm._core.effects import Unit
from safellm.cli.app import app
from safellm.openai import AsyncOpenAI, OpenAI
from safellm.plugins import Document, Provider
from safellm.stores.ledger.interface import Ledger
from safellm.stores.ledger.shared import SharedLedger
from safellm.stores.plugged import found
from safellm.stores.plugged.ledger import DocumentEngine
from safellm.stores.settings import load_policy
from safellm.testing.ledger_contract import NOON_NS, asking, limit, standing, tokens
from safellm.testing.provider import LoopbackProvider
from safellm.testing.store_contract import LedgerStoreContract

RUNNER = CliRunner()
SECRET = "key-" + "9e" * 12


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Callable[[str, str], Path]]:
    """Write a new package with `safellm guard new` and install it as pip leaves it."""
    monkeypatch.setattr(found, "_registered", {})
    (site := tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def put(kind: str, name: str) -> Path:
        made = RUNNER.invoke(app, ["guard", "new", name, "--kind", kind, "--folder", str(tmp_path), "--json"])
        folder = Path(json.loads(made.stdout)["folder"])
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        [(group, entries)] = project["entry-points"].items()
        module = entries[name].partition(":")[0]
        (site / f"{module}.py").write_text((folder / f"{module}.py").read_text("utf-8"), "utf-8")
        (info := site / f"{module}-0.1.0.dist-info").mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {entries[name]}\n", "utf-8")
        return site

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("safellm_my"):
            del sys.modules[name]


def ask(made: Any, text: str = "Hello") -> str:
    with made:
        answer = made.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": text}])
        return str(answer.choices[0].message.content)


def client(provider: LoopbackProvider, **settings: Any) -> OpenAI:
    return OpenAI(base_url=provider.base_url, api_key="any", max_retries=0, safellm=settings)


def test_installed_packages_alone_are_not_even_imported(install: Any, provider: LoopbackProvider) -> None:
    """None of the kinds runs before the policy names it; the list shows them all the same."""
    for kind in ("sink", "ledger", "vault", "provider"):
        install(kind, f"my-{kind}")
    ask(client(provider))
    listed = json.loads(RUNNER.invoke(app, ["guard", "list", "--json"]).stdout)
    mine = [(one["kind"], one["enabled"]) for one in listed if one["name"].startswith("my-")]
    assert mine == [("sink", False), ("ledger", False), ("vault", False), ("provider", False)]
    assert not [name for name in sys.modules if name.startswith("safellm_my")]
    with pytest.raises(safellm.ConfigurationError, match="no profile"):
        OpenAI(profile="my-provider", api_key="any")
    assert not [name for name in sys.modules if name.startswith("safellm_my")]


def test_a_sink_that_the_variables_name_gets_the_events(
    install: Any, provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SAFELLM_AUDIT_SINKS, also where no trail is kept."""
    install("sink", "my-sink")
    monkeypatch.setenv("SAFELLM_AUDIT_SINKS", "my-sink")
    for mode, file in (("required", tmp_path / "one"), ("off", tmp_path / "two")):
        ask(client(provider, audit={"mode": mode}, plugin_settings={"my-sink": {"path": str(file)}}))
        events = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        assert [one["event"] for one in events] == ["call.intent", "call.outcome"]
        assert ("seq" in events[0]) == (mode == "required")
    listed = json.loads(RUNNER.invoke(app, ["guard", "list", "--json"]).stdout)
    assert [one["enabled"] for one in listed if one["name"] == "my-sink"] == [True]


def test_a_sink_that_breaks_costs_the_call_only_where_it_is_required(
    provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `best_effort` it is told once, and without what the sink said."""

    class Bad:
        def emit(self, event: str, fields: Any, *, time_ns: int) -> None:
            raise OSError(SECRET)

    class Later:
        async def emit(self, event: str, fields: Any, *, time_ns: int) -> None:
            raise AssertionError

    monkeypatch.setattr(found, "_registered", {("sink", "bad"): Bad, ("sink", "later"): Later})
    for name in ("bad", "later"):
        with pytest.raises(safellm.GuardFailure, match=f"sink {name}"):
            ask(client(provider, audit={"sinks": [name]}))
    assert provider.requests == []
    ask(client(provider, audit={"sinks": ["bad"], "mode": "best_effort"}))
    told = capsys.readouterr().err
    assert told.count("The sink bad broke (OSError)") == 1
    assert SECRET not in told


async def test_a_sink_does_not_hold_the_event_loop(
    provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its work is done in a thread."""
    seen = []

    class Slow:
        def emit(self, event: str, fields: Any, *, time_ns: int) -> None:
            seen.append(threading.current_thread() is threading.main_thread())

    monkeypatch.setattr(found, "_registered", {("sink", "slow"): Slow})
    made = AsyncOpenAI(base_url=provider.base_url, api_key="any", safellm={"audit": {"sinks": ["slow"]}})
    async with made:
        await made.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Hello"}])
    assert seen == [False, False]


PROGRAM = """
import sys
from safellm import OpenAI, Refused
spent = 0
with OpenAI(base_url=sys.argv[1], api_key="any", max_retries=0) as client:
    for _ in range(6):
        try:
            client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Hello"}])
            spent += 1
        except Refused as refused:
            assert refused.reason == "budget.exceeded", refused
print(spent)
"""


def test_b_1_programs_that_share_a_plugged_ledger_never_pass_the_limit(
    install: Any, provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes ask for six calls each, and seven are made; the command line shows them."""
    site = install("ledger", "my-ledger")
    (tmp_path / "policy.toml").write_text(
        f"[plugin_settings.my-ledger]\npath = '{tmp_path / 'ledger.db'}'\n[[budget.limits]]\nrequests = 7\n", "utf-8"
    )
    monkeypatch.setenv("SAFELLM_LEDGER", "plugin:my-ledger")
    monkeypatch.setenv("SAFELLM_POLICY", str(tmp_path / "policy.toml"))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    command = [sys.executable, "-c", PROGRAM, provider.base_url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    spent = [int(one.communicate(timeout=120)[0]) for one in running]
    assert sum(spent) == 7 == len(provider.requests)
    shown = json.loads(RUNNER.invoke(app, ["budget", "--json"]).stdout)
    assert '"used": 7' in json.dumps(shown)


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from safellm_my_ledger import MyLedger
from safellm._core.effects import Unit
from safellm.stores.ledger.shared import SharedLedger
from safellm.stores.plugged.ledger import DocumentEngine
from safellm.testing.ledger_contract import NOON_NS, asking, limit
class Dies(MyLedger):
    def write(self, data, version):
        if b'"mine"' in data:
            if sys.argv[3] == "after":
                super().write(data, version)
            os._exit(9)
        return super().write(data, version)
SharedLedger(DocumentEngine(Dies(sys.argv[1]), "my")).reserve(asking("mine", 60, limit(100)), now_ns=NOON_NS)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_b_2_a_program_killed_in_the_middle_leaves_a_whole_ledger(install: Any, tmp_path: Path, when: str) -> None:
    """Before it wrote, nothing is held; after it wrote, the hold is charged by a sweep."""
    site = install("ledger", "my-ledger")
    import safellm_my_ledger  # type: ignore[import-not-found]

    path = str(tmp_path / "ledger.db")
    done = subprocess.run([sys.executable, "-c", KILLED, path, str(site), when], timeout=60, check=False)
    assert done.returncode == 9
    ledger: Ledger = SharedLedger(DocumentEngine(safellm_my_ledger.MyLedger(path), "my"))
    day = limit(100, unit=Unit.TOKENS)
    assert standing(ledger, day) == (0, 60 if when == "after" else 0)
    assert ledger.sweep(now_ns=NOON_NS + 2 * 3600 * 10**9) == (1 if when == "after" else 0)
    assert standing(ledger, day, NOON_NS) == (60 if when == "after" else 0, 0)
    ledger.close()


class Memory:
    """The shortest right store."""

    def __init__(self) -> None:
        self.lock, self.document = threading.Lock(), None

    def read(self) -> Document | None:
        return self.document

    def write(self, data: bytes, version: str | None) -> bool:
        with self.lock:
            if (None if self.document is None else self.document.version) != version:
                return False
            self.document = Document(data=data, version=str(int(version or 0) + 1))
            return True


class Overwrites(Memory):
    def write(self, data: bytes, version: str | None) -> bool:
        self.document = Document(data=data, version=str(int(version or 0) + 1))
        return True


class Silent(Memory):
    def write(self, data: bytes, version: str | None) -> bool:
        super().write(data, version)
        return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("store", "test", "options"),
    [
        (Overwrites, "test_b_1_a_document_that_was_changed_is_not_overwritten", {}),
        (Silent, "test_what_was_written_comes_back", {}),
    ],
)
def test_the_contract_catches_a_wrong_ledger(store: Any, test: str, options: dict[str, Any]) -> None:
    """One that overwrites what others wrote, or doesn't say whether it wrote."""
    made = store()

    class Contract(LedgerStoreContract):
        def open_store(self) -> Any:
            return made

    with pytest.raises(AssertionError):
        getattr(Contract(), test)(**options)


def test_b_1_whoever_comes_second_reads_again() -> None:
    """When another one takes the room between reading and writing, the room is gone."""

    class Late(Memory):
        def write(self, data: bytes, version: str | None) -> bool:
            if b'"late"' in data and self.document is not None and self.document.version == version:
                assert fast.reserve(asking("fast", 60, limit(100)), now_ns=NOON_NS) is None
            return super().write(data, version)

    store = Late()
    fast, late = (SharedLedger(DocumentEngine(store, "my")) for _ in range(2))
    over = late.reserve(asking("late", 60, limit(100)), now_ns=NOON_NS)
    assert over is not None
    assert over.held == 60
    assert standing(fast, limit(100)) == (0, 60)


@pytest.mark.parametrize("change", [b"{}", b"not json", b'{"format": 2}', b"[]", b"null"])
def test_b_6_a_document_that_is_damaged_stops_calls(change: bytes) -> None:
    """It isn't taken for an empty one."""
    store = Memory()
    ledger = SharedLedger(DocumentEngine(store, "my"))
    assert ledger.reserve(asking("a", 60, limit(100)), now_ns=NOON_NS) is None
    store.document = Document(data=change, version="7")
    for work in (
        lambda: ledger.settle("a", tokens(1), now_ns=NOON_NS),
        lambda: ledger.reserve(asking("b", 1, limit(100)), now_ns=NOON_NS),
    ):
        with pytest.raises(safellm.GuardFailure):
            work()


def test_b_6_a_ledger_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    """One that comes back empty isn't used by a machine that remembers it."""
    store = Memory()
    first = SharedLedger(DocumentEngine(store, "my"), mark=tmp_path / "mark")
    assert first.reserve(asking("a", 60, limit(100)), now_ns=NOON_NS) is None
    store.document = None
    with pytest.raises(safellm.GuardFailure):
        first.reserve(asking("b", 1, limit(100)), now_ns=NOON_NS)
    with pytest.raises(safellm.GuardFailure):
        SharedLedger(DocumentEngine(store, "my"), mark=tmp_path / "mark").balances([limit(100)], now_ns=NOON_NS)


def test_a_key_of_a_plugged_vault_goes_where_it_is_bound(
    home: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored by the command line, put in by the transport, and not to be moved by whoever may write to the store."""
    texts: dict[str, str] = {}

    class Bank:
        def get(self, name: str) -> str | None:
            return texts.get(name)

        def set(self, name: str, text: str) -> None:
            texts[name] = text

        def names(self) -> list[str]:
            return list(texts)

        def remove(self, name: str) -> None:
            texts.pop(name, None)

    monkeypatch.setattr(found, "_registered", {("vault", "bank"): Bank})
    monkeypatch.delenv("SAFELLM_KEYS_VAULT")
    monkeypatch.setenv("SAFELLM_KEYS_STORE", "plugin:bank")
    origin = provider.base_url.removesuffix("/v1")
    stored = RUNNER.invoke(app, ["keys", "set", "openai", "--stdin", "--origin", origin], input=SECRET + "\n")
    assert stored.exit_code == 0, stored.output
    assert SECRET not in stored.output
    assert list(texts) == ["openai"]
    monkeypatch.setenv("OPENAI_API_KEY", "another-" + "0" * 20)  # the vault is asked first, whoever stored the key
    ask(OpenAI(base_url=provider.base_url, max_retries=0))
    assert provider.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    with pytest.raises(safellm.Refused):
        ask(OpenAI(base_url="http://127.0.0.1:9/v1", max_retries=0))
    texts["openai"] = texts["openai"].replace('"openai"', '"stolen"', 1)
    with pytest.raises(safellm.ConfigurationError, match="not one that safellm wrote"):
        OpenAI(base_url=provider.base_url)


def test_a_provider_s_key_stands_in_its_header(
    home: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its variable or from code; a provider without TLS, or with an odd header, is none."""

    def acme(**options: Any) -> Provider:
        given = {"base_url": "https://llm.acme.example/v1", "variable": "ACME_API_KEY", "header": "X-Acme-Key"}
        return Provider(**{**given, **options})

    monkeypatch.setattr(found, "_registered", {("provider", "acme"): acme, ("provider", "groq"): acme})
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    for given in ({}, {"api_key": SECRET}):
        ask(OpenAI(profile="acme", base_url=provider.base_url, safellm={"providers": ["acme"]}, **given))
        headers = provider.requests[-1].headers
        assert headers["x-acme-key"] == SECRET
        assert "authorization" not in headers
    monkeypatch.setenv("OPENAI_BASE_URL", "https://evil.example/v1")  # heeded by the SDK only where no address is given
    with OpenAI(profile="acme", safellm={"providers": ["acme"]}) as made:
        assert made.base_url.host == "llm.acme.example"
    for wrong in ({"base_url": "http://llm.acme.example/v1"}, {"header": "X: y"}, {"variable": "a b"}, {"color": 1}):
        settings = {"providers": ["acme"], "plugin_settings": {"acme": wrong}}
        with pytest.raises(safellm.ConfigurationError):
            OpenAI(profile="acme", safellm=settings)
    groq = OpenAI(profile="groq", api_key="any", safellm={"providers": ["groq"]})
    assert "acme" not in str(groq.base_url)  # safellm's own names can't be taken
    groq.close()


def test_what_is_named_and_wrong_makes_no_client(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, without its methods, for another interface, or breaking when it is made: and no secret in the error."""

    def breaks(**_: Any) -> None:
        raise RuntimeError(SECRET)

    class Newer:
        safellm_api = 2

        def emit(self, event: str, fields: Any, *, time_ns: int) -> None:
            """Take it."""

    registered = {("sink", "empty"): object, ("sink", "breaks"): breaks, ("sink", "newer"): Newer}
    monkeypatch.setattr(found, "_registered", registered)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"audit": {"sinks": ["missing"]}}, "sink plug-in 'missing' isn't installed"),
        ({"audit": {"sinks": ["empty"]}}, "no method emit"),
        ({"audit": {"sinks": ["breaks"]}}, "can't be made"),
        ({"audit": {"sinks": ["newer"]}}, "interface 2"),
        ({"budget": {"ledger": "plugin:missing"}}, "ledger plug-in 'missing'"),
        ({"budget": {"ledger": "plugin:Not a name"}}, "can't be understood"),
        ({"plugin_settings": {"nobody": {"a": 1}}}, "isn't enabled"),
    )
    for settings, problem in cases:
        with pytest.raises(safellm.ConfigurationError, match=problem) as caught:
            OpenAI(api_key="any", base_url="http://127.0.0.1:9/v1", safellm=settings)
        assert SECRET not in str(caught.value)
    with pytest.raises(safellm.ConfigurationError, match="vault plug-in 'missing'"):
        OpenAI(base_url="http://127.0.0.1:9/v1", safellm={"keys": {"store": "plugin:missing", "vault": True}})
    with pytest.raises(ValueError, match="one of"):
        plugins.register("x", object, kind="sinks")


def test_a_lock_holds_sinks_and_providers(home: Path, tmp_path: Path) -> None:
    """More sinks may come and none goes; no provider comes."""
    (tmp_path / "policy.toml").write_text(
        'locked = ["audit.sinks", "providers", "budget.ledger"]\nproviders = ["a"]\n[audit]\nsinks = ["a"]\n', "utf-8"
    )
    environ = {"SAFELLM_POLICY": str(tmp_path / "policy.toml"), "SAFELLM_HOME": str(home)}
    assert load_policy(environ={**environ, "SAFELLM_AUDIT_SINKS": "a,b"}).policy.audit.sinks == ("a", "b")
    for variable, value in (
        ("SAFELLM_AUDIT_SINKS", "b"),
        ("SAFELLM_PROVIDERS", "a,b"),
        ("SAFELLM_LEDGER", "plugin:mine"),
    ):
        with pytest.raises(safellm.ConfigurationError, match="is locked"):
            load_policy(environ={**environ, variable: value})
