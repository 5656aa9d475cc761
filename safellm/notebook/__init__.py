"""Notebooks: `%load_ext safellm` guards the session, its cells and what they show.

* every LLM call of the kernel and its Python children is guarded (`safellm.install`);
* a cell that holds a key doesn't run, and the key can be moved into the key store;
* what a cell shows is searched first, so that no key and no hidden person lands in the saved file;
* `%%ask MODEL` asks a guarded question; `%safellm` stores a key, and shows or hides values in outputs.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safellm.notebook import cells, keys, magics, outputs, session


@dataclass(slots=True)
class _State:
    """What is put in while the extension is loaded."""

    shell: Any = None
    installed_here: bool = False


_state = _State()


def load_ipython_extension(shell: Any) -> None:
    """Guard this session; a second call changes nothing.

    Args:
        shell: IPython's running shell.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from safellm import auto  # noqa: PLC0415 - patches HTTP libraries

    if _state.shell is not None:
        return
    keys.read_colab()
    _state.installed_here = not auto.is_installed()
    auto.install()
    session.start()
    keys.start(shell)
    keys.lend()
    cells.start(shell)
    outputs.start(shell)
    magics.register(shell)
    _state.shell = shell
    print(f"safellm guards this notebook: calls, cells, outputs. {keys.hint()}")  # noqa: T201 - what a person reads


def unload_ipython_extension(shell: Any) -> None:
    """Undo it all; clients that were made stay guarded."""
    from safellm import auto  # noqa: PLC0415

    if _state.shell is None:
        return
    outputs.stop(shell)
    cells.stop(shell)
    keys.stop()
    session.stop()
    if _state.installed_here:
        auto.uninstall()
    _state.shell = None
