"""The journal around sinks of plug-ins: with a required trail, an event that a sink doesn't take stops the call."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safellm._core.effects import JSON
from safellm._core.plugged_stores import Sink
from safellm.errors import GuardFailure, Reason
from safellm.stores.journal.events import UNRECORDED, tell
from safellm.stores.journal.interface import Journal, Receipt
from safellm.stores.plugged.found import make_one
from safellm.stores.waiting import Busy


class PluggedSinks:
    """A journal, then sinks: each gets an event once its record is written, with the record's number and hash.

    Args:
        primary: The trail.
        sinks: By name.
        required: An event that one doesn't take is an error; else it is reported once.
    """

    def __init__(self, primary: Journal, sinks: Sequence[tuple[str, Sink]], *, required: bool) -> None:
        self._primary = primary
        self._sinks = tuple(sinks)
        self._required = required
        self._reported: set[str] = set()

    def append(self, event: str, fields: Mapping[str, JSON], *, time_ns: int, wait: bool = True) -> Receipt:
        """Write the record, then tell the sinks.

        Raises:
            GuardFailure: the trail's, or a required sink broke.
            Busy: `wait` is False: a sink may take its time.
        """
        if not wait:
            raise Busy
        receipt = self._primary.append(event, fields, time_ns=time_ns)
        sent = dict(fields) if receipt is UNRECORDED else {**fields, "seq": receipt.seq, "hash": receipt.hash}
        for name, sink in self._sinks:
            problem = _emit(sink, event, sent, time_ns)
            if problem and self._required:
                raise GuardFailure(
                    f"The sink {name} of the audit trail {problem}",
                    guard=f"plugin:{name}",
                    reason=Reason.AUDIT_UNAVAILABLE,
                    remedy="Mend it, or take it out of audit.sinks in the policy.",
                )
            if problem and name not in self._reported:
                self._reported.add(name)
                tell(f"The sink {name} {problem}. Calls go on without it.")
        return receipt

    def close(self) -> None:
        """Let go of the trail's files, and of what the sinks hold, where they can."""
        self._primary.close()
        for name, sink in self._sinks:
            close = getattr(sink, "close", None)
            try:
                if callable(close):
                    close()
            except Exception as error:  # noqa: BLE001 - the records are written
                tell(f"The sink {name} can't be closed ({type(error).__name__}).")


def _emit(sink: Sink, event: str, fields: Mapping[str, JSON], time_ns: int) -> str:
    try:
        said: object = sink.emit(event, fields, time_ns=time_ns)  # type: ignore[func-returns-value]  # foreign code
    except Exception as error:  # noqa: BLE001 - whatever breaks in a plug-in stops the call where it is required (P8)
        return f"broke ({type(error).__name__})"  # the message may hold an address with a password
    if hasattr(said, "close") and hasattr(said, "__await__"):
        said.close()
        return "is asynchronous; write a plain method"
    return ""


def open_plugged(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], primary: Journal, *, required: bool
) -> PluggedSinks:
    """Return a journal that tells the named sinks.

    Raises:
        ConfigurationError: one is missing or can't be made.
    """
    made = [
        (name, make_one("sink", name, settings.get(name, {}), methods=("emit",), where="audit.sinks")) for name in names
    ]
    return PluggedSinks(primary, made, required=required)
