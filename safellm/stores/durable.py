"""Files that only this user reads and that survive a crash: the one place for what differs between systems.

| | Linux | macOS | Windows |
|---|---|---|---|
| modes | 0600, 0700 | 0600, 0700 | the folder's own access list; user folders are private |
| links as last part | refused | refused | refused (checked before opening) |
| lock | flock | flock | one byte, msvcrt |
| sync | fdatasync | F_FULLFSYNC | _commit |
| folder sync | fsync | fsync | not needed by NTFS's journal, nothing done |

Every function raises `OSError` with a true `errno`; what it means for a call is decided by the store.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_ALWAYS = (
    getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)
# What systems say of a place without hard links (FAT, some network mounts): the same each time, so nobody links there.
_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.000_05, 0.005
LOCK_TIMEOUT_NS = 30 * 1_000_000_000  # a holder does a few writes; one that is stopped must not stop everybody for ever


def private_folder(path: Path) -> None:
    """Make the folder (0700, with its parents) unless it is there, and check that it can be trusted with private files.

    Raises:
        OSError: ELOOP: it is a link. ENOTDIR. EPERM: another user owns it, or every user may write to it.
    """
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        if path.parent != path:
            _folder_chain(path.parent)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    else:
        sync_folder(path.parent)
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "is a symbolic link", str(path))
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if sys.platform != "win32":
        if os.geteuid() not in {0, found.st_uid}:
            raise OSError(errno.EPERM, "belongs to another user", str(path))
        # A group may write: many systems make folders so (umask 002) with a group per user. The files stay 0600.
        if found.st_mode & stat.S_IWOTH:
            raise OSError(errno.EPERM, "every user may write to it", str(path))


def _folder_chain(path: Path) -> None:
    if not path.exists():
        if path.parent != path:
            _folder_chain(path.parent)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return  # another process made it meanwhile
        sync_folder(path.parent)


def open_private(path: Path, flags: int = os.O_RDWR) -> int:
    """Open, or with `os.O_CREAT` create, a regular file of mode 0600; returns its descriptor.

    A file that others may read or write is closed to them if it is ours.

    Raises:
        OSError: ELOOP: it is a link. EINVAL: not a regular file. Others: as `os.open`.
    """
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link", str(path))
    # O_NONBLOCK: opening a pipe that somebody put there must not wait.
    descriptor = os.open(path, flags | _ALWAYS | getattr(os, "O_NONBLOCK", 0), 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        if sys.platform != "win32" and writes and found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(descriptor: int, *, timeout_ns: int = LOCK_TIMEOUT_NS) -> Iterator[None]:
    """Hold the exclusive lock of an open file; it also ends with the process.

    Threads that share one descriptor, and a child that inherited it, hold the lock together: each needs its own.

    Raises:
        OSError: ETIMEDOUT: another holder kept it for `timeout_ns` nanoseconds.
    """
    lock(descriptor, timeout_ns=timeout_ns)
    try:
        yield
    finally:
        unlock(descriptor)


def lock(descriptor: int, *, timeout_ns: int = LOCK_TIMEOUT_NS) -> None:
    """Take the exclusive lock; see `locked`."""
    if try_lock(descriptor):
        return
    # Asked again and again, since a blocking lock can't be given up after a time.
    end_ns, pause_s = time.monotonic_ns() + timeout_ns, _FIRST_PAUSE_S
    while not try_lock(descriptor):
        if time.monotonic_ns() >= end_ns:
            raise OSError(errno.ETIMEDOUT, "another process keeps the lock")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


if sys.platform == "win32":

    def try_lock(descriptor: int) -> bool:
        """Take the exclusive lock if nobody has it; returns whether it was taken."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EDEADLK}:
                return False
            raise
        return True

    def try_share(descriptor: int) -> bool:  # noqa: ARG001 - as elsewhere
        """Take the lock together with others: not possible here."""
        return False

    def is_alone(descriptor: int) -> bool:  # noqa: ARG001 - as elsewhere
        """Return whether nobody has the lock: nobody can share it here."""
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

    def sync(descriptor: int) -> None:
        """Return when the file's bytes are on the disk."""
        os.fsync(descriptor)

    def sync_folder(path: Path) -> None:
        """Return when the folder's entries are on the disk: nothing to do here."""

    def read_at(descriptor: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`; writing with O_APPEND doesn't care where reading left off."""
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)

else:

    def try_lock(descriptor: int) -> bool:
        """Take the exclusive lock if nobody has it; returns whether it was taken."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_share(descriptor: int) -> bool:
        """Take the lock together with others who share it; returns whether it was taken."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_alone(descriptor: int) -> bool:
        """Return whether nobody has the lock at this moment."""
        if not try_lock(descriptor):
            return False
        unlock(descriptor)
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def sync(descriptor: int) -> None:
        """Return when the file's bytes are on the disk."""
        if sys.platform == "darwin":
            try:
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync(2) there stops at the drive's own cache
            except OSError as error:
                if error.errno not in {errno.ENOTSUP, errno.EINVAL}:  # some network file systems
                    raise
                os.fsync(descriptor)
        else:
            os.fdatasync(descriptor)

    def sync_folder(path: Path) -> None:
        """Return when the folder's entries are on the disk."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            return  # a folder that we may write to but not read, a parent for instance: its owner's business
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EROFS, errno.ENOTSUP}:  # file systems that can't
                raise
        finally:
            os.close(descriptor)

    def read_at(descriptor: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        return os.pread(descriptor, size, offset)


def read_range(descriptor: int, start: int, end: int) -> bytes:
    """Return the bytes from `start` to `end`, fewer only where the file ends before."""
    parts: list[bytes] = []
    while start < end:
        part = read_at(descriptor, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything: one call, unless the system takes only a part (then the rest, or the error that stopped it)."""
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, data[done:])


def read_private(path: Path, most: int) -> bytes:
    """Return the first `most` bytes of a regular file; errors as `open_private`."""
    descriptor = open_private(path, os.O_RDONLY)
    try:
        return read_range(descriptor, 0, most)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Put a private file with these bytes in the place of what is there: a reader, and a crash, find the old or the new one.

    Args:
        path: The file; its folder is there.
        data: All that is in it.
        sync: Return when it is on the disk. Without it a loss of power may leave a short file, which the reader must notice.

    Raises:
        OSError: it can't be written; the old one is as it was.
    """
    aside = _aside(path, data, synced=sync)
    try:
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Make a private file with these bytes, unless something is there; returns whether it was made.

    Nobody ever finds a part of it, and of those who make it at the same time one wins.

    Raises:
        OSError: it can't be written.
    """
    aside = _aside(path, data, synced=True)
    try:
        made = _moved_if_absent(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    if made:
        sync_folder(path.parent)
    return made


def private_key(path: Path, size: int, *, make: bool = True) -> bytes:
    """Return the key in a file: random bytes, made on first use, with the folder (`private_folder`).

    Args:
        path: The file.
        size: Bytes of a key.
        make: Make it where there is none.

    Raises:
        FileNotFoundError: there is none, and it is not to be made.
        OSError: it can't be read or made; ELOOP, EINVAL: something else is there.
        ValueError: the file has not `size` bytes.
    """
    try:
        key = read_private(path, size + 1)
    except FileNotFoundError:
        if not make:
            raise
        private_folder(path.parent)
        create(path, os.urandom(size))
        key = read_private(path, size + 1)
    if len(key) != size:
        msg = "it is damaged"
        raise ValueError(msg)
    return key


def _aside(path: Path, data: bytes, *, synced: bool) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = open_private(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            write_all(descriptor, data)
            if synced:
                sync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return aside


def _moved_if_absent(aside: Path, path: Path) -> bool:
    try:
        os.link(aside, path)
    except FileExistsError:
        return path.exists() and path.samefile(aside)  # a network mount that asks again may find its own success
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
    else:
        return True
    descriptor = open_private(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT)
    try:
        with locked(descriptor):
            if os.path.lexists(path):
                return False
            aside.rename(path)
            return True
    finally:
        os.close(descriptor)
