"""The process's variables, and the keys that were taken out of them (THREATS K.5)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading

from safellm._core.secret import Secret

_lock = threading.Lock()
_taken: dict[str, Secret] = {}


def read_environment() -> dict[str, str]:
    """Return the process's variables as they are now, with those that were taken out."""
    with _lock:
        taken = {name: secret.reveal() for name, secret in _taken.items()}
    return {**taken, **os.environ}


def take(variable: str) -> None:
    """Take a variable out of the environment, so that child processes and dumps of it don't get its value.

    Clients that are made later still find it. What the system remembers of the start of the process, such as
    `/proc/self/environ`, stays as it was.
    """
    with _lock:
        value = os.environ.pop(variable, "")
        if value:
            _taken[variable] = Secret(value)
