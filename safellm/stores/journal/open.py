"""The trail that a policy asks for: where it lies, what wakes with its records, and who else hears of events."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from safellm._version import __version__
from safellm.stores.live import Live, Settled

if TYPE_CHECKING:
    from safellm._core.alerts import Rule
    from safellm._core.policy import Audit, Policy
    from safellm.stores.journal.events import EventSink
    from safellm.stores.journal.interface import Journal
    from safellm.stores.tls import Authorities

JOURNALS: Final[Live[Journal]] = Live()


def audit_folder(policy: Policy, state: Path) -> Path:
    """Return the folder of the audit trail; `state` is the user's state folder."""
    return Path(policy.audit.directory) if policy.audit.directory else state / "audit"


def open_journal(policy: Policy, state: Path) -> Journal:
    """Return the trail that clients with these settings write to: the same one for all of them.

    Args:
        policy: Its `audit`, and who is told of events.
        state: The user's state folder.
    """
    from safellm.stores.tls import authorities_of  # noqa: PLC0415 - when a client is made

    rules = policy.alert_rules()
    wanted = _Wanted(
        folder=audit_folder(policy, state),
        state=state,
        audit=policy.audit,
        sync=policy.audit_sync,
        rules=rules,
        digest=policy.digest() if rules else "",  # a trail of its own for each policy: alerts name the one that asked
        metrics=policy.metrics,
        warnings=policy.budget.webhook,
        plugged=Settled({name: policy.plugin_settings.get(name, {}) for name in policy.audit.sinks}),
        trust=authorities_of(policy),
    )
    return JOURNALS.get(wanted, lambda: _open(wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """All that a trail depends on."""

    folder: Path
    state: Path
    audit: Audit
    sync: Literal["each", "group", "none"]
    rules: tuple[Rule, ...]
    digest: str
    metrics: str
    warnings: str | None  # the address that budget warnings go to
    plugged: Settled
    trust: Authorities


def _open(wanted: _Wanted) -> Journal:
    from safellm.stores.journal import events  # noqa: PLC0415 - only when a client is made

    audit, told = wanted.audit, _told(wanted)
    if audit.mode == "off":
        nowhere = _with_sinks(events.NullJournal(), wanted)
        return events.FanOutJournal(nowhere, told) if told else nowhere
    from safellm.stores.journal.background import LISTENERS  # noqa: PLC0415
    from safellm.stores.journal.jsonl import JsonlJournal  # noqa: PLC0415
    from safellm.stores.journal.periodic import Checkpointer  # noqa: PLC0415

    checkpoints = Checkpointer(
        wanted.folder,
        wanted.state,
        records=audit.checkpoint_records,
        seconds=audit.checkpoint_seconds,
        places=audit.checkpoint_to,
        trust=wanted.trust,
    )
    recorded, watcher = checkpoints.recorded, None
    if wanted.rules:
        from safellm.stores.journal.watching import Watcher  # noqa: PLC0415 - only when asked for

        extra = {"policy.digest": wanted.digest, "safellm.version": __version__}
        watcher = Watcher(wanted.folder, wanted.rules, extra=extra)
        recorded = _both(recorded, watcher.recorded)
    trail: Journal = JsonlJournal(wanted.folder, sync=wanted.sync, recorded=recorded)
    if audit.mode == "best_effort":
        trail = events.BestEffortJournal(trail)
    trail = _with_sinks(trail, wanted)
    sinks: list[EventSink] = [events.LoggingSink(), LISTENERS, *told]
    if audit.console:
        sinks.append(events.JsonSink() if audit.console_format == "json" else events.ConsoleSink())
    if audit.otel != "off":
        from safellm.stores.journal.otel import OtelSink  # noqa: PLC0415 - an extra

        sinks.append(OtelSink(audit.otel))
    if audit.webhook is not None:
        from safellm.stores.journal.webhook import WebhookSink  # noqa: PLC0415 - only when asked for

        sinks.append(WebhookSink(audit.webhook, trust=wanted.trust))
    journal = events.FanOutJournal(trail, sinks)
    if watcher is not None:
        watcher.raise_with(journal.note)
    return journal


def _with_sinks(journal: Journal, wanted: _Wanted) -> Journal:
    if not wanted.audit.sinks:
        return journal
    from safellm.stores.plugged.sink import open_plugged  # noqa: PLC0415 - only where one is named

    required = wanted.audit.mode == "required"
    return open_plugged(wanted.audit.sinks, wanted.plugged.values, journal, required=required)


def _told(wanted: _Wanted) -> list[EventSink]:
    """Return who is told of events whether there is a trail or not."""
    sinks: list[EventSink] = []
    if wanted.metrics != "off":
        from safellm.stores.journal.metrics import MetricsSink  # noqa: PLC0415 - only when a client is made

        sinks.append(MetricsSink(wanted.metrics))
    if wanted.warnings is not None:
        from safellm.stores.journal.webhook import WebhookSink  # noqa: PLC0415 - only when asked for

        sinks.append(WebhookSink(wanted.warnings, only=frozenset({"budget.warning"}), trust=wanted.trust))
    return sinks


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call
