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

if TYPE_CHECKING:
    from safellm.call_report import CallReport

NAME: Final = "safellm"
# Whatever a method returns is one of these, or holds one; pages and batches are models, too.
CLASSES: Final = {
    "openai._models": ("BaseModel",),
    "openai._streaming": ("Stream", "AsyncStream"),
    "openai._response": ("BaseAPIResponse",),
    "openai._legacy_response": ("LegacyAPIResponse", "HttpxBinaryResponseContent"),
    "anthropic._models": ("BaseModel",),
    "anthropic._streaming": ("Stream", "AsyncStream"),
    "anthropic._response": ("BaseAPIResponse",),
    "anthropic.lib.streaming._messages": ("MessageStream", "AsyncMessageStream"),
    "anthropic.lib.streaming._beta_messages": ("BetaMessageStream", "BetaAsyncMessageStream"),
    "google.genai.types": ("GenerateContentResponse",),
}


def _report(self: Any) -> CallReport:
    from safellm.call_report import report  # noqa: PLC0415 - reads the trail, which few programs ask for

    return report(self)


def made() -> property:
    """Return the property; each is its own object, so that undoing `install` leaves alone what an import put in."""
    return property(_report, doc="What safellm's guards did with this call: `safellm.report(self)`.")


def attach(sdk: str) -> None:
    """Put the property on the classes of an SDK that is imported; it stays for the life of the process.

    Args:
        sdk: Name of its package.
    """
    for name, module in list(sys.modules.items()):
        if name in CLASSES and name.startswith(f"{sdk}."):
            for one in classes_of(module):
                setattr(one, NAME, made())


def classes_of(module: ModuleType) -> Iterator[type]:
    """Yield the classes of a module that get the property; versions of an SDK differ in what there is."""
    for name in CLASSES[module.__name__]:
        found = vars(module).get(name)
        if isinstance(found, type):
            yield found
