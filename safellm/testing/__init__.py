"""For tests of your own programs: a provider on this machine, servers that misbehave, and contracts for own stores."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safellm.testing.canary import make_canary as make_canary
    from safellm.testing.canary import sweep as sweep
    from safellm.testing.faults import Fault as Fault
    from safellm.testing.faults import FaultServer as FaultServer
    from safellm.testing.local_model import LocalModel as LocalModel
    from safellm.testing.provider import LoopbackProvider as LoopbackProvider
    from safellm.testing.replies import Reply as Reply
    from safellm.testing.replies import ToolCall as ToolCall
    from safellm.testing.sink import Sink as Sink
    from safellm.testing.websocket import LoopbackSockets as LoopbackSockets

_LATE = {
    "Fault": "faults",
    "FaultServer": "faults",
    "LocalModel": "local_model",
    "LoopbackProvider": "provider",
    "LoopbackSockets": "websocket",
    "Reply": "replies",
    "Sink": "sink",
    "ToolCall": "replies",
    "make_canary": "canary",
    "sweep": "canary",
}
__all__ = [
    "Fault",
    "FaultServer",
    "LocalModel",
    "LoopbackProvider",
    "LoopbackSockets",
    "Reply",
    "Sink",
    "ToolCall",
    "make_canary",
    "sweep",
]


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - only for names that load something

    if name not in _LATE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
