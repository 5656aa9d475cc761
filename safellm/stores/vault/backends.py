"""The key stores that may be used, chosen by class (THREATS K.1) and asked with a time limit (THREATS K.2).

`keyring.get_keyring()` lets a variable (`PYTHON_KEYRING_BACKEND`), a file (`keyringrc.cfg`) or an installed plug-in
choose the store, and some of the choices keep keys in the clear or drop them. So it is never called. The classes below
are imported by their fixed names and made directly; `KEYRING_PROPERTY_*` variables, which any backend would read while
it is made, are kept out too: they could swap the collection that is written to.

What stays open: who controls the process's variables can point `DBUS_SESSION_BUS_ADDRESS` to a bus of their own.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from safellm.errors import VaultUnavailable

CALL_TIMEOUT_S: Final = 2.0  # THREATS K.2; a healthy Secret Service answers in 0.03-0.13 s


class Backend(Protocol):
    """The three methods of a `keyring` backend that are used."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return the entry's text, or None when there is no such entry."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store or replace the entry."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Remove the entry."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One class of the allow-list and how people call it."""

    module: str
    name: str
    label: str
    fixed: tuple[tuple[str, object], ...] = ()  # attributes that the backend would take from the environment


_MACOS: Final = Kind(
    module="keyring.backends.macOS", name="Keyring", label="macOS Keychain", fixed=(("keychain", None),)
)
_WINDOWS: Final = Kind(module="keyring.backends.Windows", name="WinVaultKeyring", label="Windows Credential Manager")
_FREEDESKTOP: Final = (
    Kind(module="keyring.backends.SecretService", name="Keyring", label="Secret Service (org.freedesktop.secrets)"),
    Kind(module="keyring.backends.libsecret", name="Keyring", label="Secret Service (libsecret)"),
    # Its id would be the program's path, so that KWallet asked again for every program.
    Kind(module="keyring.backends.kwallet", name="DBusKeyring", label="KWallet", fixed=(("appid", "safellm"),)),
)


def allowed_kinds(platform: str = sys.platform) -> tuple[Kind, ...]:
    """Return the allow-list of a platform (as `sys.platform`), best first; the order depends on nothing else."""
    if platform == "darwin":
        return (_MACOS,)
    if platform == "win32":
        return (_WINDOWS,)
    return _FREEDESKTOP


def choose_backend(*, timeout_s: float = CALL_TIMEOUT_S, platform: str = sys.platform) -> tuple[Backend, str]:
    """Return the first store of the allow-list that works here, and its label.

    Args:
        timeout_s: Longest wait for one store to say whether it is there, in seconds.
        platform: As `sys.platform`.

    Raises:
        VaultUnavailable: none works, or one of them does not answer in time.
    """
    reasons: list[str] = []
    for kind in allowed_kinds(platform):
        made = _make(kind, timeout_s=timeout_s, platform=platform)
        if not isinstance(made, str):
            return made, kind.label
        reasons.append(f"{kind.label}: {made}")
    raise unavailable("There is no key store here that safellm trusts: " + "; ".join(reasons), platform=platform)


def _make(kind: Kind, *, timeout_s: float, platform: str) -> Backend | str:
    """Return a backend, or in few words why it can't be used."""
    # The import reads no variable that matters and talks to nobody; only what follows needs the time limit.
    try:
        found = getattr(importlib.import_module(kind.module), kind.name)
    except ImportError:
        return "not installed"
    if (found.__module__, found.__name__) != (kind.module, kind.name):
        return "not the class of the keyring package"
    # `priority` raises when the store can't be reached; its value plays no part in the choice.
    reached = bounded(lambda: found.priority, timeout_s=timeout_s)
    if isinstance(reached, TimedOut):
        raise unavailable(f"{kind.label} did not answer within {timeout_s:g} s", platform=platform)
    if isinstance(reached, Failed):
        return "not running or not installed"
    return _instance(found, kind.fixed)


def _instance(found: Any, fixed: tuple[tuple[str, object], ...]) -> Backend:
    backend: Any = found.__new__(found)
    backend.set_properties_from_env = lambda: None  # the constructor calls it; see the module's docstring
    backend.__init__()
    del backend.set_properties_from_env
    for name, value in fixed:
        setattr(backend, name, value)
    return backend  # type: ignore[no-any-return]  # keyring's classes are chosen at run time


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The work raised; only the class name is kept, as a backend's message or traceback may show a key."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The work still runs, in this thread."""

    thread: threading.Thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The work's result."""

    value: object = field(repr=False)


def bounded(work: Callable[[], object], *, timeout_s: float) -> Done | Failed | TimedOut:
    """Do `work` in a thread of its own and wait at most `timeout_s` seconds.

    A thread that is stuck in a system call can't be ended: it is a daemon, so it doesn't keep the program alive.
    """
    results: list[Done | Failed] = []

    def run() -> None:
        try:
            results.append(Done(value=work()))
        except BaseException as error:  # noqa: BLE001 - becomes an error of ours, without the frames
            results.append(Failed(error=type(error).__name__))

    thread = threading.Thread(target=run, name="safellm-vault", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if results:
        return results[0]
    return TimedOut(thread=thread) if thread.is_alive() else Failed(error="no result")


def unavailable(problem: str, *, platform: str = sys.platform, where: str | None = None) -> VaultUnavailable:
    """Return the error for a store that can't be used, with the commands that mend it on this platform."""
    return VaultUnavailable(problem, remedy=_remedy(platform), where=where)


def _remedy(platform: str) -> str:
    if platform == "darwin":
        return "Run `security unlock-keychain` in a terminal of the logged-in user and allow access, then try again."
    if platform == "win32":
        return "Run `pip install pywin32-ctypes` and `net start VaultSvc`, and start the program as a logged-on user."
    return (
        "On a desktop, unlock the login key ring. Without one: `sudo apt-get install gnome-keyring dbus` "
        "(Fedora: `sudo dnf install gnome-keyring dbus-daemon`), then `dbus-run-session -- bash`, and in that shell "
        "`gnome-keyring-daemon --unlock --components=secrets`, which reads the passphrase, ended by Ctrl-D."
    )
