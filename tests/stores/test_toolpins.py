"""Pins of tool lists in a file that crashes leave whole."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from safellm.errors import GuardFailure
from safellm.stores.toolpins import pinned

FILE = "tool-pins.json"


def test_a_1_lists_stay_pinned_when_writing_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends while it pins a second list leaves the first one pinned: a changed tool is found."""
    pinned(tmp_path, "docs", {"fetch": "aa"}, again=False)
    inner = os.write

    def ends(descriptor: int, data: bytes) -> int:
        if data.startswith(b"{"):
            raise KeyboardInterrupt
        return inner(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", ends)
        with pytest.raises(KeyboardInterrupt):
            pinned(tmp_path, "mail", {"send": "bb"}, again=False)
    assert pinned(tmp_path, "docs", {"fetch": "cc"}, again=False) == ["fetch"]
    assert pinned(tmp_path, "docs", {"fetch": "aa"}, again=False) == []


def test_a_1_an_empty_file_is_damage(tmp_path: Path) -> None:
    """Nothing is pinned anew without a word because a file lost its content."""
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(GuardFailure):
        pinned(tmp_path, "docs", {"fetch": "aa"}, again=False)
    (tmp_path / FILE).unlink()
    assert pinned(tmp_path, "docs", {"fetch": "aa"}, again=False) == []
    assert pinned(tmp_path, "docs", {"fetch": "bb"}, again=True) == []
    assert pinned(tmp_path, "docs", {"fetch": "aa"}, again=False) == ["fetch"]
