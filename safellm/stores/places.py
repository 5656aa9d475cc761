r"""Where safellm keeps its files: the user's own folders, never the working directory.

| | configuration | state | cache |
|---|---|---|---|
| `SAFELLM_HOME` set | that folder | that folder | that folder |
| Linux, BSD | `$XDG_CONFIG_HOME/safellm` | `$XDG_STATE_HOME/safellm` | `$XDG_CACHE_HOME/safellm` |
| macOS | `~/Library/Application Support/safellm` | the same, `/state` | `~/Library/Caches/safellm` |
| Windows | `%APPDATA%\safellm` | `%LOCALAPPDATA%\safellm\state` | `%LOCALAPPDATA%\safellm\cache` |

A relative folder in a variable would mean "wherever the program was started", which a hostile repository may control
(THREATS E.1): `SAFELLM_HOME` is then an error, and an XDG variable is ignored as its specification demands.
Source: XDG Base Directory Specification 0.8; Apple, File System Programming Guide; Microsoft, KNOWNFOLDERID.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safellm.errors import ConfigurationError

_NAME = "safellm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The three folders; none of them need exist yet. `ensure_private` makes one."""

    config: Path
    state: Path
    cache: Path


def find_places(environ: Mapping[str, str], *, platform: str = sys.platform) -> Places:
    """Return the user's folders.

    Args:
        environ: The process's variables; only the ones in the module's table are read, and `HOME`/`USERPROFILE`.
        platform: As `sys.platform`.

    Raises:
        ConfigurationError: `SAFELLM_HOME` is not absolute, or there is no home folder.
    """
    chosen = environ.get("SAFELLM_HOME", "")
    if chosen:
        home = Path(chosen)
        if not home.is_absolute():
            raise ConfigurationError("SAFELLM_HOME is a relative folder", remedy="Give it as an absolute path.")
        return Places(config=home, state=home, cache=home)
    home = _home(environ, platform)
    if platform == "win32":
        local = _absolute(environ, "LOCALAPPDATA", home / "AppData" / "Local") / _NAME
        roaming = _absolute(environ, "APPDATA", home / "AppData" / "Roaming") / _NAME
        return Places(config=roaming, state=local / "state", cache=local / "cache")
    if platform == "darwin":
        support = home / "Library" / "Application Support" / _NAME
        return Places(config=support, state=support / "state", cache=home / "Library" / "Caches" / _NAME)
    return Places(
        config=_absolute(environ, "XDG_CONFIG_HOME", home / ".config") / _NAME,
        state=_absolute(environ, "XDG_STATE_HOME", home / ".local" / "state") / _NAME,
        cache=_absolute(environ, "XDG_CACHE_HOME", home / ".cache") / _NAME,
    )


def ensure_private(folder: Path) -> Path:
    """Make `folder` (mode 0700 on POSIX) if it isn't there and return it.

    Raises:
        ConfigurationError: it can't be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} can't be made ({error.strerror})",
            remedy="Mend its permissions, or set SAFELLM_HOME to an absolute folder that you own.",
        ) from None
    return folder


def _home(environ: Mapping[str, str], platform: str) -> Path:
    text = environ.get("USERPROFILE" if platform == "win32" else "HOME", "")
    if text and Path(text).is_absolute():
        return Path(text)
    try:
        home = Path.home()  # the account's entry, for services that run without HOME
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise ConfigurationError("There is no home folder", remedy="Set SAFELLM_HOME to an absolute folder.")
    return home


def _absolute(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    path = Path(environ.get(variable, "") or default)
    return path if path.is_absolute() else default
