"""Calls as OpenTelemetry metrics, with the names of its GenAI conventions where there are any; Prometheus reads them too.

| metric | kind | what |
|---|---|---|
| `gen_ai.client.token.usage` | histogram, `{token}` | tokens of a call, by `gen_ai.token.type` |
| `gen_ai.client.operation.duration` | histogram, `s` | from the intent to the outcome |
| `safellm.requests` | counter | attempts on the wire, by decision |
| `safellm.refusals` | counter | calls and answers that were refused, by reason and guard |
| `safellm.cost` | counter, US dollars | what the ledger charged, where a price is known |
| `safellm.budget.left`, `safellm.budget.limit` | gauge | of each limit and account, in the window in force |

They go to the program's own meter provider, as soon as it has set one; until then an event costs one look at a variable. With
`metrics = "prometheus"` there is one of our own, read at `http://127.0.0.1:9464/metrics`. Neither users nor labels are attributes,
but for the names of accounts. Names and buckets: OpenTelemetry, "Semantic conventions for generative AI metrics".
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from safellm._core.effects import JSON, Unit
from safellm._version import __version__
from safellm.errors import ConfigurationError, GuardFailure
from safellm.stores.journal.background import Background, Posted
from safellm.stores.journal.events import tell
from safellm.stores.ledger.standings import accounts_of

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    from safellm._core.limits import Rule
    from safellm.stores.ledger.interface import Ledger

PORT: Final = 9464  # what OpenTelemetry's exporters for Prometheus listen on
_API: Final = "opentelemetry.metrics"
_MOST_OPEN: Final = 10_000  # intents whose outcome isn't known yet; older ones are forgotten
_MOST_ACCOUNTS: Final = 1000
_NS: Final = 1_000_000_000
_MICRO: Final = 1_000_000
_TOKENS: Final = [4.0**power for power in range(14)]
_SECONDS: Final = [0.01 * 2**power for power in range(14)]
_EVENTS: Final = frozenset({"call.intent", "call.outcome", "policy.deny"})
_COMMON: Final = (
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "server.address",
    "server.port",
)  # fmt: skip
_lock = threading.Lock()
_own: dict[str, tuple[MeterProvider, Callable[[], None]]] = {}  # of this process, by setting, and what ends each
_watched: weakref.WeakKeyDictionary[Ledger, tuple[Rule, ...]] = weakref.WeakKeyDictionary()


class MetricsSink:
    """Hands numbers of calls to OpenTelemetry.

    Args:
        how: "auto": once the program has a meter provider; "on": to the one that OpenTelemetry finds; "prometheus[:PORT]".

    Raises:
        ConfigurationError: a package that this needs isn't installed.
    """

    def __init__(self, how: str) -> None:
        self._auto = how == "auto"
        self._provider = None if self._auto else _provider(how)
        self._made: _Instruments | None = None
        self._open: OrderedDict[str, int] = OrderedDict()
        self._background = Background(self._take, name="OpenTelemetry's metrics")

    def listens(self, fields: Mapping[str, JSON]) -> bool:  # noqa: ARG002 - the protocol of sinks
        """Return whether there is anybody to count for."""
        if self._provider is None and self._auto and _API in sys.modules:
            self._provider = _set_by_the_program()
        return self._provider is not None

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Put the event into the queue, with the moment that it happened at by a clock that isn't set."""
        if event in _EVENTS:
            self._background.post(Posted(event, fields, time_ns, time.perf_counter_ns()))

    def _take(self, some: list[Posted]) -> None:
        if self._provider is None:
            return
        if self._made is None:
            self._made = _Instruments(self._provider)
        for one in some:
            if one.event == "call.intent":
                self._open[str(one.fields.get("event.id"))] = one.extra
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            else:
                self._made.count(one, self._open.pop(str(one.fields.get("event.parent")), None))


class _Instruments:
    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("safellm", __version__)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a call.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Time from sending a call to the end of its answer.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._requests = meter.create_counter("safellm.requests", unit="{request}", description="Attempts on the wire.")
        self._refusals = meter.create_counter(
            "safellm.refusals", unit="{refusal}", description="Calls and answers that were refused."
        )
        self._cost = meter.create_counter("safellm.cost", unit="{USD}", description="What the ledger charged.")
        meter.create_observable_gauge(
            "safellm.budget.left", callbacks=[_left], description="What is left of a limit, US dollars for money."
        )
        meter.create_observable_gauge(
            "safellm.budget.limit", callbacks=[_ceilings], description="The limit, US dollars for money."
        )

    def count(self, one: Posted, began_ns: int | None) -> None:
        """Count the end of a call."""
        fields = one.fields
        common: dict[str, Any] = {name: fields[name] for name in _COMMON if fields.get(name)}
        if fields.get("decision") == "deny":
            why = {"safellm.reason": fields.get("reason", ""), "safellm.guard": fields.get("safellm.guard", "")}
            self._refusals.add(1, {**common, **{name: str(value) for name, value in why.items() if value}})
        if one.event != "call.outcome":
            return
        failed = fields.get("error.type") or (fields.get("reason") if fields.get("decision") == "deny" else None)
        ended = {**common, "error.type": str(failed)} if failed else common
        self._requests.add(1, {**ended, "safellm.decision": str(fields.get("decision"))})
        if began_ns is not None:
            self._seconds.record((one.extra - began_ns) / _NS, ended)
        for kind in ("input", "output"):
            tokens = fields.get(f"gen_ai.usage.{kind}_tokens")
            if isinstance(tokens, int):
                self._tokens.record(tokens, {**common, "gen_ai.token.type": kind})
        charged = fields.get("safellm.budget.charged")
        money = charged.get("micro_usd") if isinstance(charged, dict) else None
        if isinstance(money, int):
            self._cost.add(money / _MICRO, common)


def watch(ledger: Ledger, rules: Sequence[Rule]) -> None:
    """Have the limits of a client shown by the gauges for as long as its ledger is open."""
    if rules:
        with _lock:
            _watched[ledger] = tuple(dict.fromkeys((*_watched.get(ledger, ()), *rules)))


def _left(_: CallbackOptions) -> Iterator[Observation]:
    return _observed(left=True)


def _ceilings(_: CallbackOptions) -> Iterator[Observation]:
    return _observed(left=False)


def _observed(*, left: bool) -> Iterator[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415 - an extra

    with _lock:
        watched = list(_watched.items())
    for ledger, rules in watched:
        try:
            balances = ledger.balances(accounts_of(rules, ledger)[:_MOST_ACCOUNTS], now_ns=time.time_ns())
        except GuardFailure:  # calls are refused then, and that is counted
            continue
        for one in balances:
            limit = one.limit
            number = max(0, limit.limit - one.used - one.held) if left else limit.limit
            is_money = limit.unit is Unit.MICRO_USD
            yield Observation(
                number / _MICRO if is_money else number,
                {
                    "safellm.budget.name": limit.name,
                    "safellm.budget.unit": "usd" if is_money else limit.unit.value,
                    "safellm.budget.window": limit.window.value,
                },
            )


def _set_by_the_program() -> MeterProvider | None:
    """Return the meter provider that the program has set; None as long as there is none."""
    api = sys.modules.get(_API)
    if api is None:
        return None
    provider: MeterProvider = api.get_meter_provider()
    # Before one is set, the API answers with a stand-in; its class has no public name.
    stands_in = type(provider).__name__.startswith("_Proxy") or isinstance(provider, api.NoOpMeterProvider)
    return None if stands_in else provider


def _provider(how: str) -> MeterProvider:
    kind, _, port = how.partition(":")
    try:
        if kind == "on":
            from opentelemetry import metrics  # noqa: PLC0415 - an extra

            return metrics.get_meter_provider()
        with _lock:
            if how not in _own:
                _own[how] = _prometheus(int(port or PORT))
            return _own[how][0]
    except ImportError:
        extra = "otel" if kind == "on" else "prometheus"
        raise ConfigurationError(
            f"metrics is {how!r}, and a package for it isn't installed", remedy=f"pip install 'safellm[{extra}]'"
        ) from None


def stop_serving() -> None:
    """End the servers of this process that Prometheus reads; they end with it by themselves."""
    with _lock:
        for _, end in _own.values():
            end()
        _own.clear()


def _prometheus(port: int) -> tuple[MeterProvider, Callable[[], None]]:
    """Return a meter provider of our own whose numbers are served on this machine's loopback alone, and what ends it."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415

    registry = CollectorRegistry()
    # Without its own handler at exit: the thread of the server ends with the process.
    provider = MeterProvider(metric_readers=[PrometheusMetricReader(registry=registry)], shutdown_on_exit=False)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:  # another process of the program has it
        tell(f"Metrics aren't served on port {port} ({error.strerror}); calls go on.")
        return provider, provider.shutdown

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()

    return provider, end
