"""What every durable journal must do: subclass `JournalContract` and give it your journal.

class TestMyJournal(JournalContract):
    def open_journal(self, place):
        return MyJournal(place)

    def verify(self, place):
        return my_verify(place)
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from pathlib import Path

import pytest

from safellm._core.verify import Verification
from safellm.errors import GuardFailure, Reason
from safellm.stores.journal.interface import Journal, Receipt
from safellm.stores.waiting import Busy

_TIME_NS = 1_800_000_000_000_000_000


class JournalContract:
    """Tests of the `Journal` seam; `place` is a fresh path that stands for one store."""

    def open_journal(self, place: Path) -> Journal:
        """Return a journal over the store at `place`; called several times, all share one chain."""
        raise NotImplementedError

    def verify(self, place: Path) -> Verification:
        """Check the whole store."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the store is."""
        return tmp_path / "store"

    def test_receipts_count_from_one_and_name_the_head(self, place: Path) -> None:
        """Records are numbered from 1 without gaps, and the last receipt is the verified head."""
        journal = self.open_journal(place)
        receipts = [journal.append("call.intent", {"n": n}, time_ns=_TIME_NS + n) for n in range(5)]
        journal.close()
        found = self.verify(place)
        assert [receipt.seq for receipt in receipts] == [1, 2, 3, 4, 5]
        assert len({receipt.hash for receipt in receipts}) == 5
        assert (found.ok, found.records, found.last_seq, found.head) == (True, 5, 5, receipts[-1].hash), found.problems

    def test_without_waiting_it_is_written_or_busy(self, place: Path) -> None:
        """A record that may not wait is written whole, or `Busy` is raised and nothing is written."""
        journal = self.open_journal(place)
        for number in range(1, 4):
            try:
                receipt = journal.append("call.intent", {}, time_ns=_TIME_NS, wait=False)
            except Busy:
                receipt = journal.append("call.intent", {}, time_ns=_TIME_NS)
            assert receipt.seq == number
        journal.close()
        assert self.verify(place).records == 3

    def test_journals_over_one_store_share_the_chain(self, place: Path) -> None:
        """Two objects write in turn and never take the same number."""
        one, two = self.open_journal(place), self.open_journal(place)
        seqs = [journal.append("call.intent", {}, time_ns=_TIME_NS).seq for journal in (one, two, two, one, one, two)]
        assert seqs == [1, 2, 3, 4, 5, 6]
        one.close()
        two.close()
        assert self.verify(place).ok

    def test_reopened_journal_goes_on(self, place: Path) -> None:
        """A journal that is opened again continues the chain, and so does one that was closed."""
        first = self.open_journal(place)
        first.append("call.intent", {}, time_ns=_TIME_NS)
        first.close()
        second = self.open_journal(place)
        assert second.append("call.outcome", {}, time_ns=_TIME_NS).seq == 2
        second.close()
        assert first.append("call.intent", {}, time_ns=_TIME_NS).seq == 3
        first.close()
        first.close()
        assert self.verify(place).records == 3

    def test_threads_share_one_journal(self, place: Path) -> None:
        """Eight threads over one object get every number exactly once."""
        journal = self.open_journal(place)
        receipts: list[Receipt] = []

        def write() -> None:
            receipts.extend(journal.append("call.outcome", {}, time_ns=_TIME_NS) for _ in range(20))

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        journal.close()
        assert sorted(receipt.seq for receipt in receipts) == list(range(1, 161))
        assert self.verify(place).ok

    def test_open_intents_are_those_without_outcome(self, place: Path) -> None:
        """An intent stays open until an outcome names it as its parent."""
        journal = self.open_journal(place)
        journal.append("call.intent", {"event.id": "a"}, time_ns=_TIME_NS)
        journal.append("call.intent", {"event.id": "b"}, time_ns=_TIME_NS)
        journal.append("call.outcome", {"event.parent": "a"}, time_ns=_TIME_NS)
        journal.close()
        assert [intent.event_id for intent in self.verify(place).open_intents] == ["b"]

    @pytest.mark.parametrize("value", [1.5, 2**53, "\ud800", b"x", {"ä": 1}, {1: 2}], ids=repr)
    def test_value_that_cannot_be_exact_is_refused(self, place: Path, value: object) -> None:
        """A float, a huge number, a lone surrogate, bytes or a strange key refuse the call and leave no record."""
        journal = self.open_journal(place)
        with pytest.raises(GuardFailure) as caught:
            journal.append("call.intent", {"x": value}, time_ns=_TIME_NS)  # type: ignore[dict-item]
        assert caught.value.reason is Reason.AUDIT_UNAVAILABLE
        assert journal.append("call.intent", {}, time_ns=_TIME_NS).seq == 1
        journal.close()
        assert self.verify(place).ok
