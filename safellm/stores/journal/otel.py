"""Calls as OpenTelemetry spans and events as its logs, with the names of its GenAI conventions.

They go to the program's own tracer and logger providers, and a span is a child of the one that was current when the call was made:
a guarded call shows up inside the program's trace. Without providers nothing happens. Spans are made in the background, so that an
exporter that works at once delays no call. Needs the extra `otel` (opentelemetry-api).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from safellm._core.effects import JSON
from safellm._version import __version__
from safellm.errors import ConfigurationError
from safellm.stores.journal.background import Background, Posted
from safellm.stores.journal.events import is_warning

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

_MOST_OPEN: Final = 10_000  # intents whose outcome isn't known yet; older ones are forgotten
_CHAIN: Final = frozenset({"hash", "event.id", "event.parent", "policy.digest"})
_SPANS: Final = frozenset({"call.intent", "call.outcome", "policy.deny"})


class OtelSink:
    """Hands events to OpenTelemetry.

    Args:
        what: "spans", "logs" or "both".

    Raises:
        ConfigurationError: OpenTelemetry isn't installed.
    """

    def __init__(self, what: str) -> None:
        try:
            import opentelemetry.trace  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                "audit.otel is set and OpenTelemetry is not installed", remedy="pip install 'safellm[otel]'"
            ) from None
        self._spans, self._logs = what in {"spans", "both"}, what in {"logs", "both"}
        self._open: OrderedDict[str, Posted] = OrderedDict()
        self._background = Background(self._take, name="OpenTelemetry")

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Note the current span, and put the event into the queue."""
        from opentelemetry import context  # noqa: PLC0415

        self._background.post(Posted(event, fields, time_ns, context.get_current()))

    def _take(self, some: list[Posted]) -> None:
        for one in some:
            if self._logs:
                _log(one)
            if self._spans and one.event in _SPANS:
                self._trace(one)

    def _trace(self, one: Posted) -> None:
        if one.event == "call.intent":
            self._open[str(one.fields.get("event.id"))] = one
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            return
        began = self._open.pop(str(one.fields.get("event.parent")), one) if one.event == "call.outcome" else one
        _span(began, one)


def _span(began: Posted, ended: Posted) -> None:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

    fields = {**began.fields, **ended.fields}
    name = " ".join(str(fields[key]) for key in ("gen_ai.operation.name", "gen_ai.request.model") if fields.get(key))
    span = trace.get_tracer("safellm", __version__).start_span(
        name or ended.event,
        context=began.extra,
        kind=SpanKind.CLIENT,
        start_time=began.time_ns,
        attributes=attributes(fields),
    )
    reason = fields.get("reason") or fields.get("error.type")
    if ended.fields.get("decision") == "deny" or "error.type" in ended.fields:
        span.set_attribute("error.type", str(fields.get("error.type") or reason))
        span.set_status(Status(StatusCode.ERROR, str(reason)))
    span.end(end_time=ended.time_ns)


def _log(one: Posted) -> None:
    from opentelemetry._logs import LogRecord, SeverityNumber, get_logger  # noqa: PLC0415

    warns = is_warning(one.fields)
    record = LogRecord(
        timestamp=one.time_ns,
        context=one.extra,
        severity_number=SeverityNumber.WARN if warns else SeverityNumber.INFO,
        severity_text="WARN" if warns else "INFO",
        body=one.event,
        event_name=one.event,
        attributes=attributes(one.fields),
    )
    get_logger("safellm.audit", __version__).emit(record)


def attributes(fields: Mapping[str, JSON]) -> dict[str, AttributeValue]:
    """Return fields as attributes: counts by name become one attribute each, what belongs to the chain is left out."""
    found: dict[str, AttributeValue] = {}
    for name, value in fields.items():
        if name in _CHAIN or value is None:
            continue
        if isinstance(value, dict):
            found.update({f"{name}.{key}": item for key, item in value.items() if isinstance(item, (str, int))})
        elif isinstance(value, list):
            found[name] = [str(item) for item in value]
        else:
            found[name] = value
    return found
