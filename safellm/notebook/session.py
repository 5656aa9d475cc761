"""What happened since the extension was loaded: the sums behind `safellm.dashboard()`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safellm.audit.page import Report
    from safellm.audit.summary import Summary

_lock = threading.Lock()
_records: list[dict[str, Any]] = []
_stop: Callable[[], None] | None = None
_MOST = 100_000  # records that are kept; a session of more shows its last ones


def start() -> None:
    """Listen to the records of this process."""
    global _stop  # noqa: PLW0603 - one for each process
    from safellm.stores.journal.background import on_event  # noqa: PLC0415

    if _stop is None:
        _stop = on_event(_keep)


def stop() -> None:
    """Listen no more; what was kept stays."""
    global _stop  # noqa: PLW0603
    if _stop is not None:
        _stop()
        _stop = None


def _keep(event: dict[str, Any]) -> None:
    with _lock:
        _records.append(event)
        if len(_records) > _MOST:
            del _records[: _MOST // 10]


def dashboard() -> Report:
    """Return this session's calls, costs, refusals and findings, with plots; the last line of a cell shows it.

    Without `%load_ext safellm` it counts from its first call on.
    """
    from safellm.audit.page import render  # noqa: PLC0415 - only here

    start()
    return render(_summary(), None, title="this session", now_s=int(time.time()))


def _summary() -> Summary:
    from safellm._core.record import Unsealed  # noqa: PLC0415
    from safellm.audit.summary import Summary  # noqa: PLC0415

    found = Summary()
    with _lock:
        records = list(_records)
    for one in records:
        fields = {"time_ns": str(_nanoseconds(one["time"])), **one}
        found.add(
            Unsealed(
                chain_uid="",  # the trail proves itself; here its records are only counted
                seq=0,
                prev="",
                hash="",
                event=one["event.name"],
                event_id=str(one.get("event.id", "")),
                fields=fields,
            )
        )
    return found


def _nanoseconds(time: str) -> int:
    whole, _, part = time.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1_000_000_000 + int(part.ljust(9, "0")[:9] or 0)
