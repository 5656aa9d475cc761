"""Guard a program without changing it: `import safellm; safellm.install()`, or `safellm run script.py`.

One seam in each HTTP library, put in when the library is imported (`seams`), asks for each request whether it goes to a
known LLM origin (`targets`). If so, it passes the guards of that provider's adapter; where a library has no shell yet, the
request is refused before a byte of it leaves. Other origins are not touched. Python children inherit it (`children`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Mapping

from safellm.auto import children, gate, hooks, managed, table

_lock = threading.Lock()


def install(settings: Mapping[str, object] | None = None) -> None:
    """Guard every LLM call of this process and of the Python processes that it starts; a second call changes nothing.

    Libraries that are imported already are patched now, others when they are imported.

    Args:
        settings: Policy values given in code, as the `safellm=` of a client.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    with _lock:
        if gate.STATE.installed:
            return
        gate.start(settings)
        managed.lend()
        hooks.install(table.SEAMS)
        children.install()


def uninstall() -> None:
    """Undo `install`: every patch, variable and import hook. A call that is under way ends under its guard."""
    with _lock:
        if not gate.STATE.installed:
            return
        children.uninstall()
        hooks.uninstall()
        managed.take_back()
        gate.stop()


def is_installed() -> bool:
    """Return whether this process is guarded by `install` or by `safellm run`."""
    return gate.STATE.installed


def observe() -> None:
    """Note calls of this process and its Python children for `safellm run --observe`, and change nothing."""
    from safellm.auto.observed import observe as start  # noqa: PLC0415 - only `safellm run --observe` needs it

    start()
