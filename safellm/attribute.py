"""`response.safellm`: what the guards did with one call, on what the SDKs return.

One property on the classes of the SDKs, worked out when it is read: nothing is put on a response, so its type, equality, `repr`,
pickle and `model_dump` are the SDK's own, and a call costs nothing more. A provider that sends a key `safellm` can't forge it:
the property comes before such keys.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from safellm.on_import import OnImport

if TYPE_CHECKING:
    from safellm.call_report import CallReport

NAME: Final = "safellm"


def _both(*names: str) -> tuple[str, ...]:
    return (*names, *(f"Async{name}" for name in names))


# Whatever a method returns is one of these, or holds one; pages and batches are models, too.
CLASSES: Final = {
    "openai._models": ("BaseModel",),
    "openai._streaming": ("Stream", "AsyncStream"),
    "openai._response": ("BaseAPIResponse",),
    "openai._legacy_response": ("LegacyAPIResponse", "HttpxBinaryResponseContent"),
    "openai.lib.streaming.chat._completions": _both("ChatCompletionStream", "ChatCompletionStreamManager"),
    "openai.lib.streaming.responses._responses": _both("ResponseStream", "ResponseStreamManager"),
    "openai.lib.streaming._assistants": _both("AssistantEventHandler", "AssistantStreamManager"),
    "anthropic._models": ("BaseModel",),
    "anthropic._streaming": ("Stream", "AsyncStream"),
    "anthropic._response": ("BaseAPIResponse",),
    "anthropic.lib.streaming._messages": _both("MessageStream", "MessageStreamManager"),
    "anthropic.lib.streaming._beta_messages": (
        "BetaMessageStream", "BetaAsyncMessageStream", "BetaMessageStreamManager", "BetaAsyncMessageStreamManager",
    ),
    "google.genai.types": ("GenerateContentResponse",),
    "google.generativeai.types.generation_types": ("BaseGenerateContentResponse",),
}  # fmt: skip


def _report(self: Any) -> CallReport:
    from safellm.call_report import report  # noqa: PLC0415 - reads the trail, which few programs ask for

    return report(self)


def made() -> property:
    """Return the property; each is its own object, so that undoing `install` leaves alone what an import put in."""
    return property(_report, doc="What safellm's guards did with this call: `safellm.report(self)`.")


def attach(sdk: str) -> None:
    """Put the property on the classes of an SDK, those that it imports later too; it stays for the life of the process.

    Args:
        sdk: Name of its package.
    """
    for name in CLASSES:
        if name.startswith(f"{sdk}.") and name not in _WAITING.names:
            _WAITING.names = {*_WAITING.names, name}
            if (module := sys.modules.get(name)) is not None:
                _WAITING.imported(name, module)
    if _WAITING not in sys.meta_path:
        sys.meta_path.insert(0, _WAITING)


class _Waiting(OnImport):
    """Knows the modules that an SDK imports when they are needed."""

    def imported(self, name: str, module: ModuleType) -> None:  # noqa: ARG002 - the module knows it
        for one in classes_of(module):
            setattr(one, NAME, made())


_WAITING: Final = _Waiting(frozenset())


def classes_of(module: ModuleType) -> Iterator[type]:
    """Yield the classes of a module that get the property; versions of an SDK differ in what there is."""
    for name in CLASSES[module.__name__]:
        found = vars(module).get(name)
        if isinstance(found, type):
            yield found
