"""Records in the forms of other systems, one line of text each.

* `json`: as they stand in the trail. `csv`: the columns of `safellm audit query --sql`; cells are safe in a spreadsheet
  and on a terminal.
* `otlp`: OTLP/JSON logs, one request a line (OpenTelemetry protocol, file exporter); attributes keep their names.
* `ocsf`: OCSF 1.9, class 6003 (API Activity) with the profiles ai_operation and record_integrity. An attestation chains the
  exported events themselves: SHA-256 over the RFC 8785 bytes of each without its fingerprint. The trail's own number and
  hash stand in `unmapped`, so that an event leads back to its record.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from safellm._core import alerts
from safellm._core.effects import JSON
from safellm._core.record import canonical
from safellm._version import __version__
from safellm.audit.query import COLUMNS
from safellm.sinks import csv as csv_cell
from safellm.stores.journal.events import escaped, is_warning

OCSF_VERSION: Final = "1.9.0"
_PRODUCT: Final[dict[str, JSON]] = {"name": "safellm", "vendor_name": "safellm", "version": __version__}
_CREATE, _UPDATE, _DELETE, _OTHER = 1, 3, 4, 99
_ACTIVITIES: Final = {
    "call.intent": _CREATE, "call.outcome": _CREATE, "policy.deny": _CREATE, "key.bind": _CREATE, "grant.issue": _CREATE,
    "key.rotate": _UPDATE, "key.rename": _UPDATE, "key.migrate": _UPDATE, "budget.rearm": _UPDATE, "key.remove": _DELETE,
    "grant.revoke": _DELETE, "content.erase": _DELETE, "audit.prune": _DELETE,
}  # fmt: skip
_INFORMATIONAL, _LOW, _MEDIUM = 1, 2, 3
_SUCCESS, _FAILURE = 1, 2
_SHA_256: Final = 3
_JCS: Final = 2
_INFO, _WARN = 9, 13  # OpenTelemetry severity numbers


def as_json(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each record as JSON in ASCII."""
    return (json.dumps(record) for record in found)


def as_csv(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a heading and a row for each record (RFC 4180); no cell begins a formula."""
    yield ",".join([*COLUMNS, "micro_usd"])
    for record in found:
        charged = record.get("safellm.budget.charged")
        cells = [record.get(name) for name in COLUMNS.values()]
        cells.append(charged.get("micro_usd") if isinstance(charged, Mapping) else None)
        yield ",".join(
            str(csv_cell(escaped(cell))) if isinstance(cell, str) else "" if cell is None else str(cell)
            for cell in cells
        )


def as_otlp(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each record as one OTLP/JSON `ExportLogsServiceRequest`."""
    resource = {"attributes": [_attribute("service.name", "safellm")]}
    scope = {"name": "safellm.audit", "version": __version__}
    for record in found:
        log = otlp_log(record)
        yield json.dumps(
            {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [log]}]}]}
        )


def otlp_log(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as an OTLP/JSON log record."""
    warns = is_warning(record)
    return {
        "timeUnixNano": str(record.get("time_ns", "0")),
        "severityNumber": _WARN if warns else _INFO,
        "severityText": "WARN" if warns else "INFO",
        "eventName": str(record.get("event.name")),
        "body": {"stringValue": str(record.get("event.name"))},
        "attributes": [
            _attribute(name, value) for name, value in record.items() if name not in {"event.name", "time", "time_ns"}
        ],
    }


def as_ocsf(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each record as an OCSF event, chained to the one before."""
    before: dict[str, JSON] | None = None
    for record in found:
        event = ocsf_event(record)
        attestation: dict[str, JSON] = {
            "chain_uid": str(record.get("chain.uid")),
            "authority_uid": str(record.get("chain.uid")),
        }
        if before is not None:
            attestation["prev_event"] = before
        event["attestation_list"] = [attestation]
        fingerprint: dict[str, JSON] = {
            "algorithm_id": _SHA_256,
            "algorithm": "SHA-256",
            "serialization_id": _JCS,
            "serialization": "JCS",
            "value": hashlib.sha256(canonical(event)).hexdigest(),
        }
        attestation["fingerprint"] = fingerprint
        before = {"uid": str(record.get("event.id")), "fingerprint": fingerprint}
        yield json.dumps(event)


def ocsf_event(record: Mapping[str, Any]) -> dict[str, JSON]:
    """Return a record as an OCSF API Activity, without attestation."""
    name = str(record.get("event.name"))
    denied, failed = record.get("decision") == "deny", "error.type" in record
    activity = _ACTIVITIES.get(name, _OTHER)
    user = record.get("user.id") or record.get("safellm.grant.id")
    time_ms = int(str(record.get("time_ns", "0"))) // 1_000_000
    response: dict[str, JSON] = {}
    if "http.response.status_code" in record:
        response["code"] = record["http.response.status_code"]
    if denied or failed:
        response["error"] = str(record.get("reason") or record.get("error.type"))
    event: dict[str, JSON] = {
        "category_uid": 6,
        "class_uid": 6003,
        "class_name": "API Activity",
        "activity_id": activity,
        "type_uid": 600_300 + activity,
        "severity_id": _MEDIUM if denied or name == alerts.EVENT else _LOW if failed else _INFORMATIONAL,
        "status_id": _FAILURE if denied or failed else _SUCCESS,
        "time": time_ms,
        "message": name,
        "metadata": {
            "version": OCSF_VERSION,
            "product": _PRODUCT,
            "profiles": ["ai_operation", "record_integrity"],
            "uid": str(record.get("event.id")),
            "sequence": _whole(record.get("seq")),
            "event_code": name,
            "log_name": "safellm audit trail",
        },
        "actor": {
            "app_name": str(record.get("safellm.sdk", "safellm")),
            **({"user": {"uid": str(user)}} if user else {}),
        },
        "api": {
            "operation": str(record.get("gen_ai.operation.name", name)),
            "service": {"name": str(record.get("gen_ai.provider.name", "safellm"))},
            "request": {"uid": str(record.get("event.parent") or record.get("event.id"))},
            **({"response": response} if response else {}),
        },
        "src_endpoint": {"name": "safellm"},
        "unmapped": {
            key: value for key, value in record.items() if key.startswith("safellm.") or key in {"seq", "prev", "hash"}
        },
    }
    if "server.address" in record:
        event["dst_endpoint"] = {"hostname": str(record["server.address"]), "port": _whole(record.get("server.port"))}
    model = record.get("gen_ai.response.model") or record.get("gen_ai.request.model")
    provider = str(record.get("gen_ai.provider.name", "unknown"))
    if model:
        event["ai_model"] = {"name": str(model), "ai_provider": provider}
        tokens = {
            "prompt_tokens": record.get("gen_ai.usage.input_tokens"),
            "completion_tokens": record.get("gen_ai.usage.output_tokens"),
        }
        counted: dict[str, JSON] = {key: _whole(value) for key, value in tokens.items() if value is not None}
        if counted:
            counted["total_tokens"] = sum(_whole(value) for value in counted.values())
        event["message_context"] = {
            "service": provider,
            "application": str(record.get("safellm.sdk", "safellm")),
            **counted,
        }
    return event


FORMATS: Final[dict[str, Callable[[Iterable[Mapping[str, Any]]], Iterator[str]]]] = {
    "json": as_json,
    "csv": as_csv,
    "otlp": as_otlp,
    "ocsf": as_ocsf,
}


def _attribute(name: str, value: Any) -> dict[str, Any]:
    return {"key": name, "value": _any_value(value)}


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": [_attribute(str(name), item) for name, item in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    return {} if value is None else {"stringValue": str(value)}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
