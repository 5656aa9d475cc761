"""What sinks, ledgers, vaults and providers of one's own must do: inherit a contract, say how one is opened, let pytest run it.

    class TestMine(LedgerStoreContract):
        def open_store(self):
            return MyLedger("etcd://localhost")   # empty for each test, and the same one at each call

All of it runs on the safellm that programs use: what these tests see is what a program gets.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from safellm import plugins
from safellm._core.effects import Unit
from safellm._core.secret import Secret
from safellm.errors import GuardFailure, Reason, Refused, VaultUnavailable
from safellm.plugins import Document, LedgerStore, Provider, Sink, VaultStore
from safellm.stores.journal.events import NullJournal
from safellm.stores.ledger.rules import HOUR_NS
from safellm.stores.ledger.shared import SharedLedger
from safellm.stores.plugged import found
from safellm.stores.plugged.ledger import DocumentEngine
from safellm.stores.plugged.sink import PluggedSinks
from safellm.stores.plugged.vault import PluggedVault
from safellm.testing.ledger_contract import NOON_NS, LedgerContract, MakeLedger, asking, limit, standing, tokens
from safellm.testing.provider import LoopbackProvider
from safellm.testing.vault_contract import VaultContract, make_key

_NAME = "under-test"
_SECRET = "not-to-" + "be-told"  # in the message of an error that a test raises


class _Broken:
    """A plug-in in front of another one, which breaks in one method."""

    def __init__(self, inner: Any, method: str, *, after: bool = False) -> None:
        self._inner, self._method, self._after = inner, method, after
        self.broken = True

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name != self._method or not self.broken:
            return real

        def breaks(*given: Any, **named: Any) -> Any:
            if self._after:
                real(*given, **named)
            raise ConnectionResetError(_SECRET)

        return breaks


def _client(provider: LoopbackProvider, home: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    from safellm.openai import OpenAI  # noqa: PLC0415 - loads the SDK

    monkeypatch.setenv("SAFELLM_HOME", str(home))
    return OpenAI(base_url=provider.base_url, api_key="any", max_retries=0, safellm=settings)


def _ask(client: Any) -> None:
    with client:
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Hello"}])


class SinkContract:
    """The tests of a sink."""

    def make(self) -> Sink:
        """Return a new one, as the policy would."""
        raise NotImplementedError

    def taken(self) -> Sequence[Mapping[str, Any]]:
        """Return what arrived at the other end in this test, in order: the fields of each event, at least."""
        raise NotImplementedError

    def test_each_event_arrives_once_and_in_order(self) -> None:
        """With its fields, whatever signs they hold."""
        sink = self.make()
        values = ["plain", "ä ß 日本語 🏳️‍🌈", 'a "quote" \\ and\n a line', "\x00\x1b[31m\u202e", "", "x" * 5000]
        for number, value in enumerate(values):
            fields: dict[str, Any] = {
                "n": number,
                "text": value,
                "list": [1, "two", None, True],
                "inner": {"a": {"b": -1}},
            }
            before = repr(fields)
            sink.emit("call.intent", fields, time_ns=NOON_NS + number)
            assert repr(fields) == before, "the fields were changed; other sinks get them too"
        assert [(one["n"], one["text"]) for one in self.taken()] == list(enumerate(values))
        assert all(one["inner"] == {"a": {"b": -1}} for one in self.taken())

    def test_threads_lose_none(self) -> None:
        """Four threads over one sink."""
        sink = self.make()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: sink.emit("call.intent", {"n": n}, time_ns=NOON_NS), range(80)))
        assert sorted(one["n"] for one in self.taken()) == list(range(80))

    def test_a_call_s_events_arrive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Intent and outcome, with their place in the trail."""
        monkeypatch.setattr(found, "_registered", {("sink", _NAME): self.make})
        with LoopbackProvider() as provider:
            _ask(_client(provider, tmp_path / "home", monkeypatch, audit={"sinks": [_NAME]}))
        arrived = self.taken()
        assert [one["seq"] for one in arrived] == [1, 2]
        assert arrived[1]["event.parent"] == arrived[0]["event.id"]

    def test_an_event_that_is_not_taken_stops_the_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is sent, and the error says nothing of what the sink's own error said."""
        monkeypatch.setattr(found, "_registered", {("sink", _NAME): lambda: _Broken(self.make(), "emit")})
        with LoopbackProvider() as provider:
            with pytest.raises(Refused) as caught:
                _ask(_client(provider, tmp_path / "home", monkeypatch, audit={"sinks": [_NAME]}))
            assert provider.requests == []
        assert caught.value.reason is Reason.AUDIT_UNAVAILABLE
        assert _SECRET not in str(caught.value)

    def test_it_is_plain(self) -> None:
        """An event has arrived when `emit` returns: nothing is to be awaited."""
        journal = PluggedSinks(NullJournal(), [(_NAME, self.make())], required=True)
        journal.append("call.intent", {"n": 1}, time_ns=NOON_NS)
        assert [one["n"] for one in self.taken()] == [1]
        journal.close()


class LedgerStoreContract(LedgerContract):
    """The tests of a ledger's document, and all those of ledgers upon it."""

    def open_store(self) -> LedgerStore:
        """Return the store; the same one at each call in one test, and empty at its first."""
        raise NotImplementedError

    @pytest.fixture
    def make_ledger(self) -> Iterator[MakeLedger]:
        """Open the same document each time."""
        made: list[SharedLedger] = []

        def make(*, hold_ttl_ns: int = HOUR_NS) -> SharedLedger:
            made.append(SharedLedger(DocumentEngine(self.open_store(), _NAME), hold_ttl_ns=hold_ttl_ns))
            return made[-1]

        yield make
        for ledger in made:
            ledger.close()

    def test_there_is_nothing_at_first(self) -> None:
        """A store that was never written to has no document."""
        assert self.open_store().read() is None

    def test_what_was_written_comes_back(self) -> None:
        """To the byte, through another one, with another version each time."""
        one, other = self.open_store(), self.open_store()
        versions = set()
        version = None
        for data in (b"{}", bytes(range(256)) * 300, b"", b"{}"):
            assert one.write(data, version) is True
            document = other.read()
            assert isinstance(document, Document)
            assert document.data == data
            version = document.version
            versions.add(version)
        assert len(versions) == 4

    def test_b_1_a_document_that_was_changed_is_not_overwritten(self) -> None:
        """Whoever read an older one writes nothing; nor does whoever thinks that there is none."""
        one, other = self.open_store(), self.open_store()
        assert one.write(b"first", None) is True
        assert other.write(b"also first", None) is False
        stale = one.read()
        assert stale is not None
        assert other.write(b"second", stale.version) is True
        assert one.write(b"lost", stale.version) is False
        newest = one.read()
        assert newest is not None
        assert newest.data == b"second"

    def test_b_1_of_many_that_write_at_once_one_wins(self) -> None:
        """Eight threads with stores of their own, ten times: one True each time."""
        stores = [self.open_store() for _ in range(8)]
        version = None
        for _ in range(10):
            gate = threading.Barrier(len(stores))

            def race(store: LedgerStore, version: str | None = version, gate: threading.Barrier = gate) -> bool:
                gate.wait()
                return store.write(str(id(store)).encode(), version)

            with ThreadPoolExecutor(len(stores)) as pool:
                assert sorted(pool.map(race, stores)) == [False] * 7 + [True]
            document = stores[0].read()
            assert document is not None
            version = document.version

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_b_2_a_break_while_writing_spends_nothing_twice(self, *, after: bool) -> None:
        """Whether the document was written or not when it broke: calls stop, and the sums are right afterwards."""
        day = limit(100, unit=Unit.TOKENS)
        whole = SharedLedger(DocumentEngine(self.open_store(), _NAME))
        assert whole.reserve(asking("a", 60, day), now_ns=NOON_NS) is None
        breaking = _Broken(self.open_store(), "write", after=after)
        broken = SharedLedger(DocumentEngine(breaking, _NAME))
        said: list[str] = []
        for work in (
            lambda: broken.settle("a", tokens(50), now_ns=NOON_NS),
            lambda: broken.reserve(asking("b", 10, day), now_ns=NOON_NS),
        ):
            try:  # an answer that was lost on its way is asked for once more, so it may come right
                work()
            except GuardFailure as failure:
                said.append(str(failure))
        assert after or len(said) == 2
        assert not any(_SECRET in one or Reason.BUDGET_UNAVAILABLE not in one for one in said)
        breaking.broken = False
        assert whole.settle("a", tokens(50), now_ns=NOON_NS) == tokens(50)
        used, held = standing(whole, day)
        assert used == 50
        assert held in ((0, 10) if after else (0,))  # what was held just before the break is charged by a sweep
        assert whole.reserve(asking("c", 51, day), now_ns=NOON_NS) is not None

    def test_a_break_stops_the_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is sent while the ledger can't be read."""
        monkeypatch.setattr(found, "_registered", {("ledger", _NAME): lambda: _Broken(self.open_store(), "read")})
        settings = {"budget": {"ledger": f"plugin:{_NAME}", "limits": [{"tokens": 100_000}]}}
        with LoopbackProvider() as provider:
            with pytest.raises(Refused) as caught:
                _ask(_client(provider, tmp_path / "home", monkeypatch, **settings))
            assert provider.requests == []
        assert _SECRET not in str(caught.value)


class VaultStoreContract(VaultContract):
    """The tests of a vault's texts, and all those of vaults upon them."""

    def open_store(self) -> VaultStore:
        """Return the store; the same one at each call in one test."""
        raise NotImplementedError

    def open_vault(self) -> PluggedVault:
        """Return a vault upon it."""
        return PluggedVault(self.open_store(), _NAME)

    @pytest.mark.parametrize("method", ["get", "set", "names", "remove"])
    def test_an_error_says_nothing_of_a_key(self, method: str) -> None:
        """Of what breaks in the store only the type is told."""
        key = make_key()
        self.open_vault().set(key)
        vault = PluggedVault(_Broken(self.open_store(), method), _NAME)
        work = {
            "get": vault.get,
            "set": lambda _: vault.set(key),
            "names": lambda _: vault.names(),
            "remove": vault.remove,
        }
        try:
            with pytest.raises(VaultUnavailable) as caught:
                work[method](key.name)
        finally:
            self.open_vault().remove(key.name)
        assert _SECRET not in str(caught.value)
        assert key.secret.reveal() not in str(caught.value)
        assert caught.value.__context__ is None

    def test_threads_may_ask_at_once(self) -> None:
        """Each gets the key that it asked for."""
        vault = self.open_vault()
        keys = [make_key() for _ in range(6)]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(vault.set, keys))
            try:
                assert list(pool.map(lambda key: vault.get(key.name), keys)) == keys
            finally:
                list(pool.map(lambda key: vault.remove(key.name), keys))


class ProviderContract:
    """The tests of a provider."""

    def make(self) -> Provider:
        """Return it, as the policy would."""
        raise NotImplementedError

    def test_its_addresses_can_be_used(self) -> None:
        """They are well-formed, and take no key without TLS."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(found, "_registered", {("provider", _NAME): self.make})
            profile = plugins.load_provider(_NAME, {})
        assert profile.origins
        assert profile.title

    def test_its_key_stands_in_its_header(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The program never sees the key, and no other header holds it."""
        made = self.make()
        secret = Secret("key-" + "0f" * 12)
        monkeypatch.setattr(found, "_registered", {("provider", _NAME): self.make})
        monkeypatch.setenv(made.variable, secret.reveal())
        monkeypatch.setenv("SAFELLM_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SAFELLM_KEYS_VAULT", "false")
        from safellm.openai import OpenAI  # noqa: PLC0415 - loads the SDK

        with LoopbackProvider() as provider:
            client = OpenAI(profile=_NAME, base_url=provider.base_url, safellm={"providers": [_NAME]}, max_retries=0)
            assert secret.reveal() not in str(client.api_key)
            _ask(client)
            headers = dict(provider.requests[-1].headers)
        holding = {name.lower(): value for name, value in headers.items() if secret.reveal() in value}
        wanted = (
            {made.header.lower(): secret.reveal()} if made.header else {"authorization": f"Bearer {secret.reveal()}"}
        )
        assert holding == wanted

    def test_it_is_used_only_where_the_policy_names_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A profile of a package that is merely installed is unknown."""
        from safellm.errors import ConfigurationError  # noqa: PLC0415
        from safellm.openai import OpenAI  # noqa: PLC0415 - loads the SDK

        monkeypatch.setattr(found, "_registered", {("provider", _NAME): self.make})
        monkeypatch.setenv("SAFELLM_HOME", str(tmp_path / "home"))
        with pytest.raises(ConfigurationError, match="no profile"):
            OpenAI(profile=_NAME, api_key="any")
