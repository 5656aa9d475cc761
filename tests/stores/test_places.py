"""Where safellm's files are: the user's folders on each platform, never the working directory."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from safellm.errors import ConfigurationError
from safellm.stores.places import Places, ensure_private, find_places

pytestmark = pytest.mark.skipif(os.name != "posix", reason="paths are written as on POSIX")


def test_each_platform_has_its_usual_folders() -> None:
    """The table of the module."""
    home = {"HOME": "/h", "USERPROFILE": "/h"}
    linux = find_places(home, platform="linux")
    assert linux == Places(
        config=Path("/h/.config/safellm"), state=Path("/h/.local/state/safellm"), cache=Path("/h/.cache/safellm")
    )
    mac = find_places(home, platform="darwin")
    assert mac.config == Path("/h/Library/Application Support/safellm")
    assert mac.state == mac.config / "state"
    assert mac.cache == Path("/h/Library/Caches/safellm")
    windows = find_places(home | {"APPDATA": "/r", "LOCALAPPDATA": "/l"}, platform="win32")
    assert windows == Places(config=Path("/r/safellm"), state=Path("/l/safellm/state"), cache=Path("/l/safellm/cache"))


def test_safellm_home_is_one_folder_for_all() -> None:
    """It stands before everything else."""
    places = find_places({"SAFELLM_HOME": "/x", "HOME": "/h", "XDG_CONFIG_HOME": "/y"})
    assert places == Places(config=Path("/x"), state=Path("/x"), cache=Path("/x"))


@pytest.mark.parametrize("value", [".", "x", "./x", "~/x", "../x"])
def test_e_1_relative_safellm_home_is_an_error(value: str) -> None:
    """The working directory may be a stranger's."""
    with pytest.raises(ConfigurationError, match="SAFELLM_HOME"):
        find_places({"SAFELLM_HOME": value, "HOME": "/h"})


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_e_1_relative_variables_never_lead_to_the_working_directory(platform: str) -> None:
    """Relative values of every other variable are ignored."""
    names = ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "APPDATA", "LOCALAPPDATA")
    places = find_places(dict.fromkeys(names, "here"), platform=platform)
    for folder in (places.config, places.state, places.cache):
        assert folder.is_absolute()
        assert "here" not in folder.parts


def test_xdg_variables_are_used() -> None:
    """Absolute values count."""
    places = find_places({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, platform="linux")
    assert (places.config, places.state) == (Path("/c/safellm"), Path("/s/safellm"))


def test_private_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0700 whatever the umask allows; an existing folder is left as it is."""
    old = os.umask(0)
    try:
        folder = ensure_private(tmp_path / "a" / "b")
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert ensure_private(folder) == folder
