"""Every error that safellm raises, and the closed list of reason codes.

Two families, by who has to act:

* `ConfigurationError`: the person who set it up. Raised when a client is made or a command runs.
* `Refused`: a call was stopped. `GuardFailure` is the case where a guard could not do its work; that stops the call too.

No error carries prompt text, a key or a header value: not in its message, `repr`, attributes or pickle.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a call was refused: stable codes of the form `area.what`, the same in errors, logs and audit records."""

    EGRESS_ORIGIN = "egress.origin"
    EGRESS_PLAINTEXT = "egress.plaintext"
    EGRESS_ADDRESS = "egress.address"
    EGRESS_REQUEST = "egress.request"
    KEY_UNBOUND = "key.unbound"
    GRANT_DENIED = "grant.denied"
    GRANT_INVALID = "grant.invalid"
    BROKER_UNAVAILABLE = "broker.unavailable"
    MEDIATION_UNSUPPORTED = "mediation.unsupported"
    MEDIATION_UNKNOWN = "mediation.unknown"
    SHAPE_MALFORMED = "shape.malformed"
    SHAPE_LIMIT = "shape.limit"
    SHAPE_ENCODING = "shape.encoding"
    CONTENT_DENIED = "content.denied"
    RETENTION_DENIED = "retention.denied"
    REDACTION_BLOCKED = "redaction.blocked"
    UNTRUSTED_BLOCKED = "untrusted.blocked"
    PLUGIN_REFUSED = "plugin.refused"
    BUDGET_EXCEEDED = "budget.exceeded"
    BUDGET_UNPRICED = "budget.unpriced"
    BUDGET_UNBOUNDED = "budget.unbounded"
    BUDGET_UNAVAILABLE = "budget.unavailable"
    RUN_EXCEEDED = "run.exceeded"
    TOOL_UNKNOWN = "tool.unknown"
    TOOL_DENIED = "tool.denied"
    TOOL_CHANGED = "tool.changed"
    TOOL_LOOKALIKE = "tool.lookalike"
    TOOL_ARGUMENTS = "tool.arguments"
    TOOL_LIMIT = "tool.limit"
    TOOL_APPROVAL = "tool.approval"
    OUTPUT_CANARY = "output.canary"
    AUDIT_UNAVAILABLE = "audit.unavailable"
    GUARD_ERROR = "guard.error"


class SafeLLMError(Exception):
    """Root of every error of safellm."""


class ConfigurationError(SafeLLMError):
    """A setting is wrong: the message says what, where and how to mend it."""

    def __init__(self, problem: str, *, remedy: str, where: str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.where = where
        said = f"{problem} ({where})" if where else problem
        super().__init__(f"{said}{'' if said.endswith(('.', '?')) else '.'} {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_configuration_error, (type(self), self.problem, self.remedy, self.where))


class VaultUnavailable(ConfigurationError):
    """No trusted key store can be used here; the remedy lists the commands that mend it."""


class ProtocolMisuse(SafeLLMError):
    """The methods of an `Exchange` or of a store were called out of order: a defect in the caller."""


class Refused(SafeLLMError):
    """A guard stopped this call; if `sent` is false, no byte of it left this machine.

    Attributes:
        guard: Name of the guard that refused, as in the documentation.
        reason: Stable code.
        remedy: What to do next, in one sentence.
        status: HTTP status that stands for it in the SDK's own error: 400, 403 or 429.
        sent: Whether the request had already been sent (the refusal concerns the answer).
    """

    guard: str
    reason: Reason
    remedy: str
    status: int
    sent: bool

    def __init__(  # noqa: PLR0913 - an error carries its evidence as named parts
        self, what: str, *, guard: str, reason: Reason, remedy: str, status: int = 403, sent: bool = False
    ) -> None:
        self.what = what
        self.guard = guard
        self.reason = reason
        self.remedy = remedy
        self.status = status
        self.sent = sent
        super().__init__(f"{what} [{guard}: {reason}]. {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        parts = (self.what, self.guard, self.reason, self.remedy, self.status, self.sent)
        return (_rebuild_refused, (GuardFailure if isinstance(self, GuardFailure) else Refused, *parts))


class GuardFailure(Refused):
    """A guard could not do its work, so the call was refused."""


def _rebuild_configuration_error(
    kind: type[ConfigurationError], problem: str, remedy: str, where: str | None
) -> ConfigurationError:
    return kind(problem, remedy=remedy, where=where)


def _rebuild_refused(  # noqa: PLR0913 - mirrors the constructor for pickle
    kind: type[Refused], what: str, guard: str, reason: Reason, remedy: str, status: int, sent: bool
) -> Refused:
    return kind(what, guard=guard, reason=reason, remedy=remedy, status=status, sent=sent)
