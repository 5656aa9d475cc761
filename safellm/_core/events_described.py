"""Every event of the audit trail and every field of it: the one table behind the JSON Schema and the page of documentation.

A test checks what the code writes against the schema: a field or an event that isn't listed here fails it. After a change here:
`python docs/generate.py`. Additions keep the version; a field that changes its meaning or goes away needs a new one.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from safellm._core.record import MAX_INT, VERSION
from safellm.errors import Reason

SCHEMA_ID: Final = f"urn:safellm:audit-event:v{VERSION}"

_TEXT: Final[dict[str, object]] = {"type": "string"}
_NAME: Final[dict[str, object]] = {"type": "string", "minLength": 1}
_COUNT: Final[dict[str, object]] = {"type": "integer", "minimum": 0, "maximum": MAX_INT}
_FLAG: Final[dict[str, object]] = {"type": "boolean"}
_HASH: Final[dict[str, object]] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TEXTS: Final[dict[str, object]] = {"type": "array", "items": _TEXT}
_COUNTS: Final[dict[str, object]] = {"type": "object", "additionalProperties": _COUNT}
_AMOUNTS: Final[dict[str, object]] = {
    "type": "object",
    "properties": {"input_tokens": _COUNT, "output_tokens": _COUNT, "micro_usd": _COUNT},
    "required": ["input_tokens", "output_tokens"],
    "additionalProperties": False,
}
_LABELS: Final[dict[str, object]] = {"type": "object", "additionalProperties": _TEXT}
_DECISION: Final[dict[str, object]] = {"enum": ["allow", "modify", "deny"]}
_REASON: Final[dict[str, object]] = {"enum": sorted(str(one) for one in Reason)}

# name -> (what it is, its form)
FIELDS: Final[dict[str, tuple[str, Mapping[str, object]]]] = {
    "v": ("Version of the record's form.", {"const": VERSION}),
    "chain.uid": ("The chain, the same in all of it.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    "seq": ("Number in the chain, from 1 without gaps.", {**_COUNT, "minimum": 1}),
    "prev": ("Hash of the record before; 64 zeros at the start.", _HASH),
    "hash": ("SHA-256 of the RFC 8785 bytes of the record without this field.", _HASH),
    "time": (
        "UTC, RFC 3339 with nanoseconds.",
        {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z$"},
    ),
    "time_ns": (
        "The same as nanoseconds since 1970, as text.",
        {"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
    ),
    "event.name": ("What happened.", _NAME),
    "event.id": ("Name of the event; for a call, of this attempt on the wire.", _NAME),
    "event.parent": ("`event.id` of the record that this one follows from; of an outcome, its intent.", _NAME),
    "decision": ("What the guards decided.", _DECISION),
    "reason": ("Why it was refused; the codes are in guards.md.", _REASON),
    "policy.digest": ("SHA-256 of the policy in force.", _HASH),
    "gen_ai.operation.name": ("The endpoint's operation, or the HTTP method where it isn't known.", _NAME),
    "gen_ai.provider.name": ("The provider, by its name in OpenTelemetry.", _NAME),
    "gen_ai.request.model": ("The model asked for; cut at 256 characters.", _NAME),
    "gen_ai.request.max_tokens": ("The output ceiling asked for.", _COUNT),
    "gen_ai.request.stream": ("Whether a stream was asked for.", _FLAG),
    "gen_ai.response.id": ("The answer's id.", _NAME),
    "gen_ai.response.model": ("The model that answered.", _NAME),
    "gen_ai.response.finish_reasons": (
        "Why each choice ended.",
        {"type": "array", "items": {"type": ["string", "null"]}},
    ),
    "gen_ai.usage.input_tokens": ("Tokens read, those from a cache included.", _COUNT),
    "gen_ai.usage.output_tokens": ("Tokens written.", _COUNT),
    "gen_ai.usage.cache_read.input_tokens": ("Tokens read from a cache.", _COUNT),
    "gen_ai.usage.cache_write.input_tokens": ("Tokens put into a cache.", _COUNT),
    "gen_ai.usage.reasoning.output_tokens": ("Tokens written as reasoning.", _COUNT),
    "error.type": ("HTTP status of 400 or more, or what ended the call early.", _NAME),
    "server.address": ("Host that the call goes to.", _NAME),
    "server.port": ("Its port.", _COUNT),
    "http.response.status_code": ("HTTP status of the answer.", _COUNT),
    "http.request.resend_count": ("How often the SDK had tried before.", _COUNT),
    "safellm.version": ("Version of safellm.", _NAME),
    "safellm.sdk": ("Name and version of the SDK.", _NAME),
    "safellm.key.ref": ("Where the key comes from, never the key: `vault:NAME`, a variable's name, `code`.", _NAME),
    "safellm.key.new_ref": ("The key's new name.", _NAME),
    "safellm.key.origins": ("Where the key may be sent.", _TEXTS),
    "safellm.key.provider": ("The key's provider.", _NAME),
    "safellm.key.store": ("The vault that the key moved to.", _NAME),
    "safellm.grant.id": ("The grant that the call was made with.", _NAME),
    "safellm.grant.caveats": ("Kinds of its limits.", _TEXTS),
    "safellm.guard": ("The guard that refused.", _NAME),
    "safellm.answered_by": ("The guard that answered in the provider's place; nothing was sent.", _NAME),
    "safellm.would_refuse": (
        "Reasons for which guard mode would have refused (mode observe).",
        {"type": "array", "items": _REASON},
    ),
    "safellm.request.bytes": ("Size of the body that is sent.", _COUNT),
    "safellm.content.hmac_in": (
        "HMAC-SHA256 of the body as the program sent it, under this installation's key.",
        _HASH,
    ),
    "safellm.content.hmac_out": ("The same of what the program got.", _HASH),
    "safellm.content.binary_bytes": ("Bytes that are no text and were not searched.", _COUNT),
    "safellm.content.sealed_in": ("SHA-256 of the request as it is kept, encrypted, beside the trail.", _HASH),
    "safellm.content.sealed_out": ("The same of the answer.", _HASH),
    "safellm.content.erased": ("How many kept requests and answers were erased.", _COUNT),
    "safellm.content.erased_sha256": ("SHA-256 of their sorted `sealed` digests, one a line.", _HASH),
    "safellm.redaction.counts": ("How many values of each type were found.", _COUNTS),
    "safellm.redaction.kept": (
        "Those of them that were sent as they are, as the call is about that very account: who is invited, who may read.",
        _COUNTS,
    ),
    "safellm.input.hidden_removed": ("Invisible characters taken out of the request.", _COUNT),
    "safellm.retention.changes": (
        "Keys of the request that were set, replaced by a pseudonym or taken out, so that the provider keeps nothing.",
        _TEXTS,
    ),
    "safellm.upload.counts": ("Lines of uploaded files, and how many of them stand there twice.", _COUNTS),
    "safellm.untrusted.sources": (
        "Where text came from that neither the program nor its user wrote: tool:NAME, document, file, marked:SOURCE.",
        _TEXTS,
    ),
    "safellm.injection.score": ("How much that text reads like orders to the model, in thousandths.", _COUNT),
    "safellm.injection.signals": ("What was seen in it, such as override, prompt_leak, exfiltration.", _TEXTS),
    "safellm.output.actions": ("What was done to the answer's text, and how often.", _COUNTS),
    "safellm.output.system_told": (
        "How much of the system text the answer told, in thousandths; with `output.canary` only.",
        _COUNT,
    ),
    "gen_ai.tool.name": ("The tool, of those that the request declares, whose call was refused.", _NAME),
    "safellm.tools.passed": ("Tool calls of the answer that reached the program.", _COUNT),
    "safellm.tools.approved": ("Keyed digests of the calls that a person approved: of name and arguments.", _TEXTS),
    "safellm.budget.reserved": ("Upper bound held before sending; money in millionths of a US dollar.", _AMOUNTS),
    "safellm.budget.charged": ("What was billed.", _AMOUNTS),
    "safellm.budget.name": ("The account of a limit, with the labels that it counts by.", _NAME),
    "safellm.budget.unit": ("What the limit counts.", _NAME),
    "safellm.budget.window": ("The time over which it counts.", _NAME),
    "safellm.budget.limit": ("The limit.", _COUNT),
    "safellm.budget.used": ("What was billed in this window.", _COUNT),
    "safellm.budget.held": ("What calls under way may cost.", _COUNT),
    "safellm.fragment.bytes": ("Length of what a crash left before this record.", _COUNT),
    "safellm.fragment.sha256": ("Its SHA-256.", _HASH),
    "safellm.rotate.file": ("The file that this one follows.", _NAME),
    "safellm.rotate.head": ("Hash of its last record.", _HASH),
    "safellm.prune.files": ("How many of the oldest files were removed.", _COUNT),
    "safellm.prune.through_seq": ("Number of the last record in them.", _COUNT),
    "user.id": ("Whose call it is: a keyed pseudonym, unless the policy wants the name.", _NAME),
    "safellm.labels": ("What policy and program say of the call; what looks personal by its pseudonym.", _LABELS),
    "safellm.alert.name": ("Name of the alert in the policy.", _NAME),
    "safellm.alert.count": ("What it counts.", _NAME),
    "safellm.alert.value": ("The count; money in millionths of a US dollar.", _COUNT),
    "safellm.alert.limit": ("The count from which on it is told.", _COUNT),
    "safellm.alert.mean": ("The mean of the windows before.", _COUNT),
    "safellm.alert.window": ("The time over which was counted.", _NAME),
    "safellm.alert.new": ("The label that had a value which was never seen.", _NAME),
    "safellm.alert.subject": ("Whom or what it is about, by label.", _LABELS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One kind of event: what it says, which fields it always has, and which it may have besides those of the chain."""

    name: str
    what: str
    always: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


_CHAIN: Final = ("v", "chain.uid", "seq", "prev", "hash", "time", "time_ns", "event.name", "event.id")
_WHERE: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "server.address", "server.port", "safellm.sdk")
_BY: Final = ("policy.digest", "safellm.version")

EVENTS: Final[tuple[Event, ...]] = (
    Event(
        name="call.intent",
        what="A call passed the guards and is about to be sent; nothing leaves before this is recorded.",
        always=(
            *_WHERE, *_BY, "decision", "gen_ai.request.stream", "safellm.request.bytes", "safellm.content.hmac_in",
            "safellm.budget.reserved",
        ),
        may=(
            "safellm.key.ref", "safellm.grant.id", "gen_ai.request.model", "gen_ai.request.max_tokens",
            "safellm.redaction.counts", "safellm.redaction.kept", "safellm.input.hidden_removed", "safellm.retention.changes",
            "safellm.upload.counts", "safellm.untrusted.sources",
            "safellm.injection.score", "safellm.injection.signals", "safellm.would_refuse",
            "safellm.content.binary_bytes", "safellm.content.sealed_in", "http.request.resend_count", "user.id",
            "safellm.labels", "safellm.answered_by",
        ),
    ),
    Event(
        name="call.outcome",
        what="The end of a call: its answer, its failure, or that the answer was withheld.",
        always=(*_WHERE, *_BY, "event.parent", "decision", "safellm.content.hmac_out"),
        may=(
            "reason", "error.type", "http.response.status_code", "safellm.grant.id", "gen_ai.request.model",
            "gen_ai.response.id", "gen_ai.response.model", "gen_ai.response.finish_reasons", "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.reasoning.output_tokens", "safellm.output.actions", "safellm.output.system_told",
            "safellm.budget.charged",
            "gen_ai.tool.name", "safellm.tools.passed", "safellm.tools.approved", "safellm.would_refuse",
            "safellm.content.sealed_out", "user.id", "safellm.labels", "safellm.answered_by",
        ),
    ),
    Event(
        name="policy.deny",
        what="A call was refused; nothing of it was sent.",
        always=(*_BY, "decision", "reason", "safellm.guard"),
        may=(*_WHERE, "gen_ai.request.model", "safellm.grant.id"),
    ),
    Event(
        name="key.bind", what="A person stored a key and bound it to origins.",
        always=("policy.digest", "safellm.key.ref", "safellm.key.origins", "safellm.key.provider"),
    ),
    Event(
        name="key.rotate", what="A person put a new key in the place of an old one.",
        always=("policy.digest", "safellm.key.ref", "safellm.key.origins", "safellm.key.provider"),
    ),
    Event(name="key.rename", what="A key got another name.", always=("policy.digest", "safellm.key.ref", "safellm.key.new_ref")),
    Event(
        name="key.migrate", what="A key moved to another vault.",
        always=("policy.digest", "safellm.key.ref", "safellm.key.store"),
    ),
    Event(name="key.passphrase", what="The encrypted key file got another passphrase.", always=("policy.digest",)),
    Event(name="key.remove", what="A key was removed.", always=("policy.digest", "safellm.key.ref")),
    Event(name="grant.issue", what="A grant was made.", always=("policy.digest", "safellm.grant.id", "safellm.grant.caveats")),
    Event(name="grant.revoke", what="A grant was revoked.", always=("policy.digest", "safellm.grant.id")),
    Event(
        name="budget.warning", what="A limit has reached the share at which a person is told.",
        always=("policy.digest", "safellm.version", "event.parent", "safellm.budget.name", "safellm.budget.unit",
                "safellm.budget.window", "safellm.budget.limit", "safellm.budget.used", "safellm.budget.held"),
    ),
    Event(name="budget.rearm", what="A person set the accounts of the budget to zero.", always=("policy.digest",)),
    Event(
        name="audit.recover", what="Names what a crash left in the file before this record.",
        always=("safellm.fragment.bytes", "safellm.fragment.sha256"),
    ),
    Event(
        name="audit.rotate", what="The first record of a new file.", always=("safellm.rotate.file", "safellm.rotate.head"),
    ),
    Event(
        name="alert.raise", what="Something happened that the policy wants a person to be told of.",
        always=("policy.digest", "safellm.version", "event.parent", "safellm.alert.name"),
        may=("safellm.alert.count", "safellm.alert.value", "safellm.alert.limit", "safellm.alert.mean",
             "safellm.alert.window", "safellm.alert.new", "safellm.alert.subject"),
    ),
    Event(
        name="content.erase", what="A person erased kept content; which, its digest says.",
        always=("policy.digest", "safellm.content.erased", "safellm.content.erased_sha256"),
    ),
    Event(
        name="audit.prune", what="The oldest files were removed; a signed note says where the rest begins.",
        always=("policy.digest", "safellm.prune.files", "safellm.prune.through_seq"),
    ),
)  # fmt: skip


def schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of one record: one shape for each event, no field besides those listed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "safellm audit record",
        "description": "One line of the audit trail. Fields named gen_ai, server, http and error are those of OpenTelemetry.",
        "type": "object",
        "required": ["event.name"],
        "properties": {"event.name": {"enum": [one.name for one in EVENTS]}},
        "allOf": [
            {
                "if": {"properties": {"event.name": {"const": one.name}}},
                "then": {"$ref": f"#/$defs/{one.name}"},
            }
            for one in EVENTS
        ],
        "$defs": {one.name: _shape(one) for one in EVENTS},
    }


def schema_text() -> str:
    """Return the schema as the file that the package ships."""
    return json.dumps(schema(), indent=1) + "\n"


def _shape(event: Event) -> dict[str, object]:
    names = dict.fromkeys((*_CHAIN, *event.always, *event.may))
    return {
        "description": event.what,
        "type": "object",
        "properties": {name: {"description": FIELDS[name][0], **FIELDS[name][1]} for name in names},
        "required": [*_CHAIN, *event.always],
        "additionalProperties": False,
    }


def render() -> str:
    """Return the tables of events and fields as Markdown."""
    by_field: dict[str, list[str]] = {name: [] for name in FIELDS}
    for event in EVENTS:
        for name in (*event.always, *event.may):
            by_field[name].append(f"`{event.name}`" + ("" if name in event.always else "?"))
    rows = [
        f"| `{name}` | {_form(form)} | {what} | {'all' if name in _CHAIN else ', '.join(by_field[name])} |"
        for name, (what, form) in FIELDS.items()
    ]
    return "\n".join(
        [
            "| Event | What it says |",
            "|---|---|",
            *(f"| `{one.name}` | {one.what} |" for one in EVENTS),
            "",
            "A question mark: where there is something to say.",
            "",
            "| Field | Form | What it is | In |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _form(form: Mapping[str, object]) -> str:
    if "const" in form:
        return f"`{form['const']}`"
    if form is _REASON:
        return "reason code"
    if form is _LABELS:
        return "texts by name"
    if form is _HASH:
        return "SHA-256, hex"
    if "enum" in form:
        return "`" + "`, `".join(map(str, form["enum"])) + "`" if isinstance(form["enum"], list) else ""
    words = {
        "string": "text",
        "integer": "count",
        "boolean": "true, false",
        "array": "list of texts",
        "object": "counts by name",
    }
    return words[str(form["type"])]
