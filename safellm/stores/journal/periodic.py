"""Checkpoints made by themselves: every so many records, every so many seconds, and when the program ends.

* They are made behind calls, in a thread; a call costs one addition and one comparison.
* A copy goes to each place of `audit.checkpoint_to`. A place that was missed gets the copy with the next checkpoint: a later
  checkpoint proves all that an earlier one did.
* A failure is told once on standard error and never fails a call. `safellm doctor` tells the age of the last one.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safellm.errors import ConfigurationError
from safellm.stores.behind import DELAY_S, Behind
from safellm.stores.journal.events import tell
from safellm.stores.journal.keepers import keep

if TYPE_CHECKING:
    from safellm.stores.tls import Authorities


class Checkpointer:
    """Signs a trail from time to time.

    Args:
        directory: Folder of the trail.
        state: Folder of the signing key.
        records: A checkpoint follows after so many records of this process.
        seconds: And so many seconds after a record that none covers.
        places: Where copies go; see `keepers`.
        trust: The authorities that count there.
        now_ns: The clock, Unix time.
    """

    def __init__(  # noqa: PLR0913 - settings, each named
        self,
        directory: Path,
        state: Path,
        *,
        records: int,
        seconds: float,
        places: Sequence[str] = (),
        trust: Authorities | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._directory = directory
        self._state = state
        self._records = records
        self._places = tuple(places)
        self._trust = trust
        self._now_ns = now_ns
        self._count = 0
        self._told: set[str] = set()
        self._making = threading.Lock()
        self._by_count = Behind(self.make, name="checkpoint", delay_s=DELAY_S)
        # What is due when the interpreter ends is done then: that is the checkpoint at exit.
        self._by_time = Behind(self.make, name="checkpoint-timer", delay_s=seconds)

    def recorded(self) -> None:
        """Count one record. Called by the journal, on the path of calls."""
        if not self._by_time.due:
            self._by_time.soon()
        self._count += 1
        if self._count >= self._records:
            self._count = 0
            self._by_count.soon()

    def make(self) -> None:
        """Sign what isn't signed yet, and keep copies. A failure is told, not raised."""
        from safellm.stores.journal.checkpoints import make_checkpoint, signing_key  # noqa: PLC0415 - cryptography, late

        with self._making:
            if not self._directory.is_dir():
                return  # the trail was moved away; there is nothing to sign
            try:
                made = make_checkpoint(self._directory, signing_key(self._state), now_ns=self._now_ns())
            except ConfigurationError as error:
                self._tell("The audit trail is written, but not signed", error)
                return
            if made is None:
                return
            for place in self._places:
                try:
                    keep(made.note, place, trust=self._trust)
                except ConfigurationError as error:
                    self._tell("A copy of a checkpoint of the audit trail is missing", error)

    def close(self) -> None:
        """End the threads; what isn't signed waits for the next checkpoint."""
        self._by_count.close()
        self._by_time.close()

    def __del__(self) -> None:
        if suppress is None:  # the interpreter takes modules apart
            return
        with suppress(Exception):
            self._by_count.close(wait=False)
            self._by_time.close(wait=False)

    def _tell(self, what: str, error: ConfigurationError) -> None:
        if error.where not in self._told:
            self._told.add(str(error.where))
            tell(f"{what}: {error.problem} ({error.where}). {error.remedy} Calls go on.")
