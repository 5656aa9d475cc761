"""The seam of `grpc`: channels to language models are refused, as their messages can't be guarded."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from safellm.auto import gate
from safellm.auto.hooks import Patches

WAY_OUT = "Use the REST transport (google-generativeai: configure(transport='rest')), or the adapter of the SDK."


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch the functions that make channels, sync and async."""

    def channel(original: Any) -> Any:
        def make(target: Any, *arguments: Any, **named: Any) -> Any:
            _check(str(target))
            return original(target, *arguments, **named)

        return make

    try:
        aio: Any = importlib.import_module("grpc.aio")
    except ImportError:
        aio = None
    for owner in (module, aio):
        for name in ("secure_channel", "insecure_channel"):
            if owner is not None and hasattr(owner, name):
                patches.replace(owner, name, channel)


def _check(target: str) -> None:
    name = target.rpartition("/")[2].rpartition("@")[2]  # "dns:///host:443"
    name = name.partition(":")[2] if name.startswith("dns:") else name
    host, _, port = name.partition(":")
    number = int(port) if port.isdigit() else None
    gate.check(gate.find("https", host, number, "/", library="grpc"), "grpc", WAY_OUT)
