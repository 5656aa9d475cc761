"""Files that are there whole or not at all, and keys that are made once."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import errno
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from safellm.errors import ConfigurationError
from safellm.stores import durable
from safellm.stores.content.keys import make_pair
from safellm.stores.grants import Grants
from safellm.stores.install_key import install_key
from safellm.stores.journal.checkpoints import signing_key

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="made with os.fork")

MAKERS = {
    "install.key": "from safellm.stores.install_key import install_key as make",
    "audit-signing.key": "from safellm.stores.journal.checkpoints import signing_key as make",
    "grants.key": "from safellm.stores.grants import Grants\nmake = lambda state: Grants(state)._root(create=True)",
}

# Forks once for each step that touches the disk, and kills the child right before that step.
KILLED_AT_EACH_STEP = """
import os, signal, sys
from pathlib import Path
{maker}
{links}
state, steps = Path(sys.argv[1]), [0, 0]
from safellm.stores import durable

def counted(call):
    def counting(*args, **kwargs):
        steps[0] += 1
        if steps[0] == steps[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return counting

for name in ("open", "write", "close", "link", "unlink", "rename", "mkdir", "fdatasync", "fsync"):
    if hasattr(os, name):
        setattr(os, name, counted(getattr(os, name)))

make(state.parent / "warm")  # imports and the like come before
steps[0], folder, number, killed = 0, state, 0, True
while killed:
    number += 1
    at = folder / str(number)
    child = os.fork()
    if child == 0:
        steps[0], steps[1] = 0, number
        make(at)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
print(number - 1)
"""

RACING = """
import os, sys, time
from pathlib import Path
{maker}
{links}
from safellm.stores import durable
at = Path(sys.argv[1])
make(at / "warm")
for number in range(60):
    folder = at / str(number)
    (at / f"ready-{{number}}-{{sys.argv[2]}}").touch()
    while not (at / f"ready-{{number}}-{{1 - int(sys.argv[2])}}").exists():
        pass
    key = make(folder)
    print(key.hex() if isinstance(key, bytes) else key.private_bytes_raw().hex())
"""

NO_LINKS = """
def _no_link(*args, **kwargs):
    raise OSError(95, "not supported")
import os
os.link = _no_link
"""


def _source(text: str, name: str, *, links: bool) -> str:
    return textwrap.dedent(text).format(maker=MAKERS[name], links="" if links else NO_LINKS)


@needs_fork
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("name", MAKERS)
def test_key_is_made_by_the_next_process_when_one_was_killed_at_any_step(
    name: str, links: bool, tmp_path: Path
) -> None:
    """Wherever a process ends while it makes a key, the next one has a whole key, and the one after that the same."""
    (tmp_path / "s").mkdir()
    script = _source(KILLED_AT_EACH_STEP, name, links=links)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s")], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) >= 6  # folder, aside, write, sync, link, unlink at least
    for state in (tmp_path / "s").iterdir():
        made = durable.private_key(state / name, 32)
        assert made == durable.private_key(state / name, 32) == (state / name).read_bytes()


@needs_fork
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("name", MAKERS)
def test_two_processes_agree_on_one_key_when_both_make_it(name: str, links: bool, tmp_path: Path) -> None:
    """Neither finds an empty file, and both go on with the same key."""
    script = _source(RACING, name, links=links)
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(which)], stdout=subprocess.PIPE, text=True)
        for which in range(2)
    ]
    said = [one.communicate(timeout=60)[0].split() for one in running]
    assert [one.returncode for one in running] == [0, 0]
    assert len(said[0]) == 60
    assert said[0] == said[1]
    assert not list(tmp_path.glob("*/*.new")) + list(tmp_path.glob("*/.*.new"))


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links need a right on Windows")
def test_key_is_refused_when_it_is_a_link(tmp_path: Path) -> None:
    """Whoever may plant a link in the folder doesn't choose the key."""
    (tmp_path / "elsewhere").write_bytes(b"k" * 32)
    (tmp_path / "install.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="can't be used"):
        install_key(tmp_path)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_is_refused_when_the_file_has_another_size(size: int, tmp_path: Path) -> None:
    """A key that was cut or grown is damage: a new one in its place would forget placeholders, grants and signatures."""
    for name in MAKERS:
        (tmp_path / name).write_bytes(b"k" * size)
    for use in (install_key, signing_key, lambda state: Grants(state).verify("safellm-grant-1.x")):
        with pytest.raises(ConfigurationError, match="damaged"):
            use(tmp_path)
    assert {(tmp_path / name).stat().st_size for name in MAKERS} == {size}


def test_key_of_before_is_read_as_it_is(tmp_path: Path) -> None:
    """A file that an earlier version made counts, and is not written."""
    for name in MAKERS:
        (tmp_path / name).write_bytes(b"k" * 32)
    assert install_key(tmp_path) == b"k" * 32
    assert signing_key(tmp_path).private_bytes_raw() == b"k" * 32
    assert Grants(tmp_path)._root(create=True) == b"k" * 32
    assert {path.name for path in tmp_path.iterdir()} == set(MAKERS)


def test_key_is_made_when_an_aside_was_left(tmp_path: Path) -> None:
    """What a killed process of the same number left beside the key hinders nobody."""
    import threading

    (tmp_path / f"install.key.{os.getpid()}-{threading.get_ident()}").write_bytes(b"")
    assert len(install_key(tmp_path)) == 32


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_file_is_left_alone_when_it_is_to_be_made_anew(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create` never writes over what is there, and a content key neither."""
    if not links:
        monkeypatch.setattr(os, "link", _refuse)
    path = tmp_path / "content.key"
    public = make_pair(path)
    before = path.read_bytes()
    assert not durable.create(path, b"other")
    with pytest.raises(ConfigurationError, match="can't be written"):
        make_pair(path)
    assert path.read_bytes() == before
    assert public.startswith("safellm-content-public:")
    assert len(base64.urlsafe_b64decode(before.decode().strip().partition(":")[2] + "=")) == 32
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {one.name for one in tmp_path.iterdir()} <= {"content.key", "content.key.lock"}


def test_create_raises_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another failure than missing links is no reason to try a second way; nothing stays behind."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="full"):
        durable.create(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_replace_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes only a part of the new bytes costs nothing of the old ones."""
    durable.replace(tmp_path / "a", b"old")

    def half(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:1])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(durable, "write_all", half)
    with pytest.raises(OSError, match="full"):
        durable.replace(tmp_path / "a", b"new")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a", b"old")]


def _refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "no links here")
