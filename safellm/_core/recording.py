"""What the trail says of a call: the fields of its intent, its outcome, or its denial (THREATS L.1, L.2; names: OpenTelemetry)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Seen
from safellm._core.answer import Counts
from safellm._core.call import Bounds, Call, RequestHead, Tools
from safellm._core.digest import keyed_digest
from safellm._core.effects import JSON, Amounts
from safellm._core.record import MAX_INT
from safellm._core.standing import Standing
from safellm._core.tools.gate import Gate
from safellm._core.who import fields_of
from safellm.errors import Refused

FIRST_ERROR = 400  # HTTP statuses from here on are errors
_LONGEST_NAME = 256  # characters of a model, an id or a finish reason; longer ones are cut in the record
_MOST_SOURCES = 16  # sources of untrusted text in one record
_MOST_REASONS = 64  # finish reasons in one record; `n` is at most 128 at OpenAI, and they say the same
_KEY_HEADERS = ("authorization", "api-key", "x-api-key", "x-goog-api-key")


def intent(call: Call, bounds: Bounds, *, call_id: str, digest: str) -> dict[str, JSON]:
    """Return the fields of `call.intent`.

    Args:
        call: The request after the guards.
        bounds: Names the keys that the transport puts in.
        call_id: Name of this attempt.
        digest: HMAC-SHA256 of the body as the program sent it, hex.
    """
    head = call.head
    fields = _begun(call)
    fields["event.id"] = call_id
    fields["decision"] = "modify" if call.changed else "allow"
    fields["gen_ai.request.stream"] = call.streams
    fields["safellm.request.bytes"] = call.size
    fields["safellm.content.hmac_in"] = digest
    fields["safellm.budget.reserved"] = _amounts(call.amounts)
    if call.answered_by:
        fields["safellm.answered_by"] = call.answered_by
    if ref := _key_ref(head, bounds):
        fields["safellm.key.ref"] = ref
    if model := call.model:
        fields["gen_ai.request.model"] = _plain(model)
    if most := _most_tokens(call):
        fields["gen_ai.request.max_tokens"] = most
    if binary := call.body.binary_bytes:
        fields["safellm.content.binary_bytes"] = binary
    if resent := _resend_count(head):
        fields["http.request.resend_count"] = resent
    if (
        call.findings or call.would_refuse or call.hidden_removed or call.retention_changes or call.upload_counts
        or call.untrusted_sources or call.injection_score or call.injection_signals
    ):  # fmt: skip
        _add_found(fields, call)
    return fields


def _add_found(fields: dict[str, JSON], call: Call) -> None:
    """Add what the guards found in a request; in most they find nothing."""
    optional: tuple[tuple[str, JSON], ...] = (
        ("safellm.redaction.counts", dict(sorted(call.findings.items()))),
        ("safellm.redaction.kept", dict(sorted(call.kept.items()))),
        ("safellm.input.hidden_removed", call.hidden_removed),
        ("safellm.retention.changes", list[JSON](call.retention_changes)),
        ("safellm.upload.counts", {name: count for name, count in call.upload_counts.items() if count}),
        ("safellm.untrusted.sources", _sources(call.untrusted_sources)),
        ("safellm.injection.score", call.injection_score),
        ("safellm.injection.signals", list[JSON](sorted(call.injection_signals))),
        ("safellm.would_refuse", [str(reason) for reason in call.would_refuse]),
    )
    fields.update({name: value for name, value in optional if value})


def _sources(sources: tuple[str, ...]) -> list[JSON]:
    """Return where text of others came from: names that a program or a model chose, so they are cut."""
    return [_plain(one) for one in sources[:_MOST_SOURCES]]


def outcome(  # noqa: PLR0913 - everything that is known of a call in the end
    call: Call,
    *,
    call_id: str,
    status: int,
    seen: Seen,
    counts: Counts,
    refused: Refused | None,
    failure: str | None,
    charged: Amounts | None,
    digest: str,
) -> dict[str, JSON]:
    """Return the fields of `call.outcome`.

    Args:
        call: The request.
        call_id: Name of this attempt.
        status: HTTP status of the answer; 0 where none came.
        seen: What the answer said of itself.
        counts: What was done to its texts.
        refused: Why it was withheld.
        failure: Kind of the error that ended the call early.
        charged: What the ledger charged.
        digest: HMAC-SHA256 of the bytes that the program got, hex.
    """
    fields = _begun(call)
    fields["event.parent"] = call_id
    fields["decision"] = "deny" if refused is not None else "modify" if counts.changed else "allow"
    fields["safellm.content.hmac_out"] = digest
    reasons = seen.finish_reasons
    optional: tuple[tuple[str, JSON], ...] = (
        ("reason", None if refused is None else str(refused.reason)),
        ("error.type", failure or (str(status) if status >= FIRST_ERROR else None)),
        ("http.response.status_code", status),
        ("gen_ai.request.model", _plain(call.model)),
        ("gen_ai.response.id", _plain(seen.id)),
        ("gen_ai.response.model", _plain(seen.model)),
        ("gen_ai.response.finish_reasons", [_plain(one) for one in reasons[:_MOST_REASONS]] if reasons else None),
        ("safellm.output.actions", counts.as_record()),
        ("safellm.output.system_told", None if call.echo is None else call.echo.similarity()),
        *(() if call.gate is None else _tool_calls(call, call.gate)),
    )
    for name, value in optional:
        if value:
            fields[name] = value
    if call.answered_by:
        fields["safellm.answered_by"] = call.answered_by
    usage = seen.usage
    if usage is not None:
        counted: tuple[tuple[str, int | None], ...] = (
            ("gen_ai.usage.input_tokens", usage.input_tokens),
            ("gen_ai.usage.output_tokens", usage.output_tokens),
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens),
            ("gen_ai.usage.cache_write.input_tokens", usage.cache_write_tokens),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
        )
        for name, count in counted:
            if count is not None:
                fields[name] = count
    if charged is not None:
        fields["safellm.budget.charged"] = _amounts(charged)
    return fields


def _tool_calls(call: Call, gate: Gate) -> tuple[tuple[str, JSON], ...]:
    """Return what is said of the answer's tool calls; of what the model made up, no name is."""
    approved = [keyed_digest(call.tools.key, b"tool", digest.encode()) for digest in gate.approved]
    return (
        ("gen_ai.tool.name", _plain(gate.refused_tool) if gate.refused_tool in gate.declared else None),
        ("safellm.tools.passed", gate.passed),
        ("safellm.tools.approved", list(approved[:_MOST_REASONS])),
        ("safellm.would_refuse", list(gate.noted[:_MOST_REASONS])),
    )


def denial(  # noqa: PLR0913 - everything that is known of a call that isn't made
    head: RequestHead, error: Refused, *, tools: Tools, call_id: str, operation: str, model: str
) -> dict[str, JSON]:
    """Return the fields of `policy.deny`: a call of which nothing was sent.

    Args:
        head: The request.
        error: Why.
        tools: Of the client.
        call_id: Name of this attempt.
        operation: The endpoint's, or the method where the endpoint isn't known.
        model: That the request names, or an empty text.
    """
    fields = _common(tools, head, operation)
    if model and _is_clean(tools, model):  # it may have been refused before anything was hidden in it
        fields["gen_ai.request.model"] = _plain(model)
    fields["event.id"] = call_id
    fields["decision"] = "deny"
    fields["reason"] = str(error.reason)
    fields["safellm.guard"] = error.guard
    return fields


def _is_clean(tools: Tools, text: str) -> bool:
    """Return whether nothing is found in a text that records may not hold; False also where that can't be told."""
    try:
        return not tools.scanner.scan(text) and not (tools.registered and tools.registered.find(text))
    except Exception:  # noqa: BLE001 - the record is written all the same, without the name
        return False


def credential(standing: Standing | None) -> dict[str, JSON]:
    """Return the fields that name the grant of a call."""
    return {} if standing is None or standing.grant is None else {"safellm.grant.id": standing.grant.id}


def _begun(call: Call) -> dict[str, JSON]:
    """Return what intent and outcome of a call begin with; made once for both."""
    begun = call.record
    if begun is None:
        begun = _common(call.tools, call.head, call.route.operation)
        if call.standing is not None:
            begun.update(credential(call.standing))
        begun.update(fields_of(call.tools, call.said))
        call.record = begun
    return begun.copy()


def _common(tools: Tools, head: RequestHead, operation: str) -> dict[str, JSON]:
    """Return what all records of a call begin with; the same for all calls to one endpoint."""
    known: tuple[Tools, str, dict[str, JSON]] | None = head.known.get("record")
    if known is None or known[0] is not tools or known[1] != operation:
        origin = head.origin
        fields: dict[str, JSON] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": tools.adapter.provider_of(origin),
            "server.address": origin.host,
            "server.port": origin.port,
            "safellm.sdk": tools.sdk,
        }
        known = head.known["record"] = (tools, operation, fields)
    return known[2].copy()


def _key_ref(head: RequestHead, bounds: Bounds) -> str | None:
    """Return where the call's key comes from; a key that the program gave itself has no name."""
    known: tuple[Bounds, str | None] | None = head.known.get("key")
    if known is None or known[0] is not bounds:
        known = head.known["key"] = (bounds, _find_key_ref(head, bounds))
    return known[1]


def _find_key_ref(head: RequestHead, bounds: Bounds) -> str | None:
    for key in bounds.managed:
        if head.carries(key.placeholder):
            return key.ref
    return "code" if any(head.header(name) for name in _KEY_HEADERS) else None


def _most_tokens(call: Call) -> int | None:
    """Return the output ceiling that the request asks for."""
    value = call.body.value
    ceiling = call.tools.adapter.ceiling(call.route, call.head.origin)
    if ceiling is None or not isinstance(value, dict):
        return None
    place = ceiling.place(value) or {}
    for key in ceiling.keys:
        count = place.get(key)
        if isinstance(count, int) and 0 <= count <= MAX_INT:
            return count
    return None


def _amounts(amounts: Amounts) -> dict[str, JSON]:
    tokens: dict[str, JSON] = {"input_tokens": amounts.input_tokens, "output_tokens": amounts.output_tokens}
    if amounts.micro_usd is not None:
        tokens["micro_usd"] = amounts.micro_usd
    return tokens


def _plain(text: str | None) -> str | None:
    """Return a name from outside as a record may hold it: short, and encodable."""
    if text is None or (len(text) <= _LONGEST_NAME and text.isascii()):
        return text
    return text[:_LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")


def _resend_count(head: RequestHead) -> int:
    count = head.header("x-stainless-retry-count")
    return int(count) if count.isascii() and count.isdigit() else 0
