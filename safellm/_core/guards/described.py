"""What each guard does in each mode, and what each reason code means: the source of the table in `docs/guards.md`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass

from safellm.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One guard in words."""

    name: str
    what: str
    observe: str
    guard: str
    strict: str
    rows: str  # of the threat model; each has a test of that name


GUARDS: tuple[Described, ...] = (
    Described(
        name="egress",
        what="Where a call may go: the address given in code, the provider's own, those of the policy",
        observe="as guard",
        guard="another origin, a redirect to one, plain http to another machine or through a proxy, a foreign Host, a name that "
        "leads to a private address or a metadata service: refused",
        strict="an address or an HTTP client from code is refused too; only bound origins and the policy's; no proxy and no "
        "certificates of the environment",
        rows="E.1-E.9",
    ),
    Described(
        name="keys",
        what="Which key is used, and that it goes to its own origins only",
        observe="as guard",
        guard="vault, else the provider's variable; an explicit key is the program's own",
        strict="vault only",
        rows="K.1, K.2, K.4, K.11",
    ),
    Described(
        name="grant",
        what="What a grant or a `safellm.scope` allows: operation, models, address, tools, output, data, calls, budget, time",
        observe="as guard",
        guard="anything else is refused; a revoked grant from the next attempt on, and its open streams are cut",
        strict="the same",
        rows="K.7-K.10",
    ),
    Described(
        name="mediation",
        what="Endpoints and paths that the guard can read",
        observe="unknown endpoints and events are walked as JSON; websockets without a guard and unknown `provider=` refused",
        guard="the same",
        strict="unknown endpoints refused as well",
        rows="E.10",
    ),
    Described(
        name="shape",
        what="Size, depth, duplicate keys, encoding of a request",
        observe="noted",
        guard="refused",
        strict="refused",
        rows="K.9, E.9",
    ),
    Described(
        name="content",
        what="Images, audio, files that can't be searched; PDF and office files, in which nothing can be hidden",
        observe="noted",
        guard="pass, and are counted in the record (`content.binary`); a document with a secret is refused, what else it holds is "
        "counted (`content.documents`)",
        strict="a document with anything that would be hidden, or that can't be searched, is refused",
        rows="R.9",
    ),
    Described(
        name="retention",
        what="What a provider is told to keep of a call (`retention`)",
        observe="noted",
        guard="with `none`: not stored (`store = false`), users by pseudonym, no metadata; files, batches, vector stores, "
        "conversations, fine-tuning and unknown endpoints refused",
        strict="the same",
        rows="K.9",
    ),
    Described(
        name="hidden_input",
        what="Invisible characters in text that the program only passes on",
        observe="noted",
        guard="removed (`input.hidden_characters`)",
        strict="removed",
        rows="R.2, O.4",
    ),
    Described(
        name="uploads",
        what="Files of lines, for training or batches: lines that stand there twice",
        observe="counted",
        guard="counted (`safellm.upload.counts`); their text passes the guards of text; `safellm scan --training` names lines",
        strict="the same",
        rows="K.9",
    ),
    Described(
        name="untrusted",
        what="Text that neither the program nor its user wrote: results of tools, documents, files, "
        "what `safellm.untrusted` marked",
        observe="scored and recorded",
        guard="scored for orders to the model, and recorded; forged delimiters of chat formats are made text "
        "(`untrusted.delimiters`); refused only from `untrusted.block_at` on",
        strict="the same",
        rows="R.7, A.6",
    ),
    Described(
        name="tools",
        what="Which tools a request declares, and which calls of an answer reach the program (`tools`, `tool_calls`)",
        observe="noted",
        guard="a name that stands twice or looks like another one, a changed definition that was pinned, a call that isn't "
        "declared: refused; tools with an entry: as it says, with arguments checked against their schema",
        strict="a tool without an entry is denied, all arguments are checked, a tool counts as one with effects unless it says "
        "otherwise",
        rows="A.1-A.6, R.7",
    ),
    Described(
        name="plugins",
        what="What guards of your own say of a request and of its answer (`plugins`)",
        observe="asked, and a refusal of a request noted",
        guard="refused, changed or answered in the provider's place as they say; one that is missing or breaks stops the call",
        strict="the same",
        rows="P8",
    ),
    Described(
        name="redaction",
        what="Secrets, personal data, registered and marked values, places that the policy names (`redaction.paths`), "
        "values cut in two by the parts of a message, look-alikes of placeholders",
        observe="counted",
        guard="masked, replaced by a surrogate, removed, blocked or allowed, by type (`redaction.types`); a secret in a URL is "
        "refused",
        strict="the same",
        rows="R.1-R.8",
    ),
    Described(
        name="ceiling",
        what="An upper bound of the cost before the call",
        observe="computed",
        guard="an output ceiling is put in when a token or money limit is set; what can't be bounded is refused",
        strict="the same",
        rows="B.6, B.7",
    ),
    Described(
        name="budget",
        what="Tokens, money and requests per window, reserved before and settled after",
        observe="noted",
        guard="over a limit: refused with 429; usage is counted with and without limits (without: written within 0.2 s)",
        strict="the same",
        rows="B.1-B.5",
    ),
    Described(
        name="audit",
        what="A durable record of every intent and outcome",
        observe="as guard",
        guard="if the intent can't be written, the call isn't made (`audit.mode`); it outlives the program, and the disk has it "
        "within about 0.1 s (`audit.sync`)",
        strict="the disk has the intent before a byte leaves",
        rows="L.1, L.5, L.6",
    ),
    Described(
        name="output",
        what="Terminal controls and invisible characters in answers; Markdown and HTML that would fetch or run something",
        observe="pass",
        guard="made visible, removed, made text (`output.*`); code, JSON answers and tool arguments stay",
        strict="links to origins that aren't listed show their address, no tag passes",
        rows="O.2, O.3, O.4",
    ),
    Described(
        name="echo",
        what="Answers that hold a registered secret or value which this conversation doesn't, or the canary of the system text",
        observe="pass",
        guard="secrets are taken out (`output.secrets`), and so are values of others (`output.personal`); a canary, where the "
        "policy has one planted, is taken out or its answer refused (`output.canary`)",
        strict="what only looks like a secret is taken out as well, and so is personal data that other conversations hid",
        rows="O.6",
    ),
    Described(
        name="restore",
        what="Putting hidden values back, by position",
        observe="nothing was hidden",
        guard="in text; not in URLs, link targets, HTML tags, undeclared tool arguments",
        strict="the same",
        rows="R.3-R.7",
    ),
)

REASONS: dict[Reason, str] = {
    Reason.EGRESS_ORIGIN: "The call would go to an origin that its client is not bound to.",
    Reason.EGRESS_PLAINTEXT: "The call would leave this machine, or go through a proxy, without encryption.",
    Reason.EGRESS_ADDRESS: "The name of the host leads to an address that the call may not reach, such as a private one.",
    Reason.EGRESS_REQUEST: "The URL, the Host header or a request extension could send it elsewhere than it seems.",
    Reason.KEY_UNBOUND: "The stored key is bound to other origins.",
    Reason.GRANT_DENIED: "The grant, or a scope around the call, doesn't allow it.",
    Reason.GRANT_INVALID: "The grant was not made here, was changed, or was revoked; or it stands where only a key may.",
    Reason.BROKER_UNAVAILABLE: "`SAFELLM_BROKER` names a broker that doesn't answer; nothing goes past it.",
    Reason.MEDIATION_UNSUPPORTED: "The call takes a way that has no guard yet.",
    Reason.MEDIATION_UNKNOWN: "The endpoint isn't known and the policy denies unknown ones.",
    Reason.SHAPE_MALFORMED: "A body isn't what its header says, or has a key twice.",
    Reason.SHAPE_LIMIT: "A body, an event or its nesting is larger than the limit.",
    Reason.SHAPE_ENCODING: "A body is compressed, or the text of an answer encoded, in a way that can't be read.",
    Reason.CONTENT_DENIED: "The policy denies content that can't be searched, or a document that holds what must not leave.",
    Reason.RETENTION_DENIED: "The policy lets nothing be kept by the provider, and the call is there to have something kept.",
    Reason.REDACTION_BLOCKED: "A value was found whose type the policy blocks, or a secret stands in the URL.",
    Reason.UNTRUSTED_BLOCKED: "Text of others in the request scores at least `untrusted.block_at`.",
    Reason.PLUGIN_REFUSED: "A guard of your own (`plugins`) refused the request or its answer; the error names it.",
    Reason.BUDGET_EXCEEDED: "An account has no room for the call.",
    Reason.BUDGET_UNPRICED: "A money limit is set and the model has no known price.",
    Reason.BUDGET_UNBOUNDED: "A token or money limit is set and the call's cost can't be bounded before it.",
    Reason.BUDGET_UNAVAILABLE: "The ledger can't be asked.",
    Reason.RUN_EXCEEDED: "A `with safellm.run(...)` has done what it may do: a loop, or work that needs more room.",
    Reason.TOOL_UNKNOWN: "The model calls a tool that the request doesn't declare.",
    Reason.TOOL_DENIED: "The policy denies the tool.",
    Reason.TOOL_CHANGED: "The tool's definition isn't the one that was pinned.",
    Reason.TOOL_LOOKALIKE: "A tool's name stands twice, or can be taken for another one's.",
    Reason.TOOL_ARGUMENTS: "The arguments of a call aren't what the tool's schema or its entry in the policy allows.",
    Reason.TOOL_LIMIT: "A tool was called more often than it may be.",
    Reason.TOOL_APPROVAL: "A call needs approval, and nobody approved it.",
    Reason.OUTPUT_CANARY: "The answer holds the canary of the system text, and the policy refuses such answers.",
    Reason.AUDIT_UNAVAILABLE: "The trail can't be written.",
    Reason.GUARD_ERROR: "A guard broke; nothing was sent, or the answer was withheld.",
}


def render() -> str:
    """Return the two tables as Markdown."""
    guards = [
        "| Guard | What it decides | observe | guard | strict | Threats |",
        "|---|---|---|---|---|---|",
        *(f"| `{g.name}` | {g.what} | {g.observe} | {g.guard} | {g.strict} | {g.rows} |" for g in GUARDS),
    ]
    reasons = ["| Reason | Meaning |", "|---|---|", *(f"| `{reason}` | {text} |" for reason, text in REASONS.items())]
    return "\n".join([*guards, "", "## Reason codes", "", *reasons])
