"""Hidden values over restarts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core.redaction.back import put_back
from safellm._core.redaction.memory import Memory
from safellm.errors import GuardFailure
from safellm.stores import durable
from safellm.stores.conversations import Conversations, conversation
from safellm.stores.mappings import MappingStore

KEY = b"k" * 32
VALUE = "alice@corp.test"


def store(folder: Path, *, key: bytes = KEY, days: int = 30, now_s: float = 1_000_000.0) -> MappingStore:
    """Return a store with a clock that stands."""
    return MappingStore(folder / "mappings", key, days=days, now_s=lambda: now_s)


def hidden(folder: Path, name: str = "a", **options: float) -> tuple[str, str]:
    """Hide a value in a conversation, keep it, and return its placeholder and its surrogate."""
    memory = Memory(name)
    placeholder = memory.hide(KEY, "EMAIL", VALUE)
    memory.remember_fake("EMAIL", VALUE, "lena.holm1234@example.org")
    store(folder, **options).save(name, memory)  # type: ignore[arg-type]
    return placeholder, "lena.holm1234@example.org"


def restored(folder: Path, text: str, name: str = "a", **options: float) -> str:
    """Restore a text in a process that has just begun."""
    memory = Memory(name)
    store(folder, **options).load(name, memory)  # type: ignore[arg-type]
    return put_back(memory, text, allowed=lambda *_: True)[0]


def test_r_8_values_survive_a_restart(tmp_path: Path) -> None:
    """A new process restores placeholders and surrogates of the same conversation."""
    placeholder, fake = hidden(tmp_path)
    assert restored(tmp_path, f"{placeholder} {fake}") == f"{VALUE} {VALUE}"


def test_r_8_values_of_another_conversation_are_unknown(tmp_path: Path) -> None:
    """Under another name there is nothing; and a file that is moved to another name is refused."""
    placeholder, _ = hidden(tmp_path)
    assert restored(tmp_path, placeholder, "b") == placeholder
    hidden(tmp_path, "b")
    first, second = sorted((tmp_path / "mappings").glob("*.sealed"))
    second.write_bytes(first.read_bytes())
    with pytest.raises(GuardFailure):
        [restored(tmp_path, placeholder, name) for name in "ab"]


def test_the_files_tell_nothing(tmp_path: Path) -> None:
    """Neither value nor name stands in a file or in its name; only the user may read it."""
    hidden(tmp_path, "session-of-alice")
    for path in (tmp_path / "mappings").iterdir():
        data = path.read_bytes() + path.name.encode()
        assert VALUE.encode() not in data
        assert b"alice" not in data
        assert os.name != "posix" or path.stat().st_mode & 0o077 == 0


@settings(max_examples=60)
@given(data=st.data())
def test_tampering_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One changed bit anywhere, or a cut: no call goes on with it."""
    folder = tmp_path_factory.mktemp("tampered")
    placeholder, _ = hidden(folder)
    (path,) = (folder / "mappings").glob("*.sealed")
    sealed = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del sealed[data.draw(st.integers(0, len(sealed) - 1)) :]
    path.write_bytes(sealed)
    with pytest.raises(GuardFailure):
        restored(folder, placeholder)
    with pytest.raises(GuardFailure):
        hidden(folder)


def test_another_installation_can_not_read(tmp_path: Path) -> None:
    """The key is the installation's."""
    placeholder, _ = hidden(tmp_path)
    with pytest.raises(GuardFailure):
        memory = Memory("a")
        other = store(tmp_path, key=b"o" * 32)
        next((tmp_path / "mappings").glob("*.sealed")).rename(other._path("a"))
        other.load("a", memory)
    assert placeholder


def test_values_expire(tmp_path: Path) -> None:
    """After its days a file is no longer read, and the sweep removes it and no other."""
    placeholder, _ = hidden(tmp_path, "a", days=7)
    day = 86_400.0
    assert restored(tmp_path, placeholder, days=7, now_s=1_000_000 + 7 * day) == VALUE
    late = {"days": 7, "now_s": 1_000_001 + 7 * day}
    assert restored(tmp_path, placeholder, **late) == placeholder  # type: ignore[arg-type]
    hidden(tmp_path, "b", now_s=1_000_000 + 7 * day)
    assert store(tmp_path, **late).sweep() == 1  # type: ignore[arg-type]
    assert len(list((tmp_path / "mappings").glob("*.sealed"))) == 1


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    """Two processes that keep the same conversation keep the values of both."""

    def write(number: int) -> None:
        memory = Memory("a")
        memory.hide(KEY, "NAME", f"value {number}")
        store(tmp_path).save("a", memory)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory = Memory("a")
    store(tmp_path).load("a", memory)
    assert {value for _, value in memory.placeholders()} == {f"value {number}" for number in range(8)}


def test_a_folder_that_can_not_be_written_stops_the_call(tmp_path: Path) -> None:
    """What can't be kept isn't sent."""
    (tmp_path / "mappings").write_text("in the way")
    with pytest.raises(GuardFailure, match="can't be used"):
        hidden(tmp_path)


def test_conversations_keep_what_they_opened(tmp_path: Path) -> None:
    """A named conversation is written when it has grown, found again by a new process, and an unnamed one is never written."""
    begun = Conversations(store(tmp_path))
    with conversation("alice"):
        placeholder = begun.open(None, "hi").hide(KEY, "EMAIL", VALUE)
        begun.keep()
        begun.keep()
    begun.open(None, "hi").hide(KEY, "EMAIL", "other")
    begun.keep()
    assert len(list((tmp_path / "mappings").glob("*.sealed"))) == 1
    later = Conversations(store(tmp_path))
    with conversation("alice"):
        assert later.open(None, "hi").value_of(placeholder) == VALUE
    with conversation("bob"):
        assert later.open(None, "hi").value_of(placeholder) is None


def test_a_provider_s_name_for_a_conversation_is_kept(tmp_path: Path) -> None:
    """A response that is continued by its id after a restart still knows its values."""
    begun = Conversations(store(tmp_path))
    memory = begun.open(None, "hi")
    placeholder = memory.hide(KEY, "EMAIL", VALUE)
    begun.remember("resp_1", memory)
    again = Conversations(store(tmp_path)).open("resp_1", None)
    assert again.value_of(placeholder) == VALUE
    assert again.hide(KEY, "EMAIL", VALUE) == placeholder


def test_values_are_on_the_disk_before_they_take_the_place_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power leaves the file of before or the new one, never a short one that refuses every later call."""
    hidden(tmp_path)
    steps: list[str] = []
    sync, replace = durable.sync, os.replace

    def synced(descriptor: int) -> None:
        steps.append(f"sync {os.fstat(descriptor).st_size > 0}")
        sync(descriptor)

    def replaced(*names: object) -> None:
        steps.append("replace")
        replace(*names)  # type: ignore[arg-type]

    monkeypatch.setattr(durable, "sync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    hidden(tmp_path)
    assert steps == ["sync True", "replace"]


def test_what_a_killed_writer_left_is_removed_with_its_time(tmp_path: Path) -> None:
    """Values beside a conversation's file are kept no longer than those in it."""
    hidden(tmp_path)
    (file,) = (tmp_path / "mappings").glob("*.sealed")
    left = file.with_name(f".{file.name}.0123.new")
    left.write_bytes(file.read_bytes())
    assert store(tmp_path).sweep() == 0
    assert store(tmp_path, now_s=1_000_000.0 + 31 * 86_400).sweep() == 2
    assert not left.exists()
