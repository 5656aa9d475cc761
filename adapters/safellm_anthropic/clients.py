"""The SDK's client classes with guarded transports. Everything else of them is untouched.

What is made is a client of the SDK's own class (`type(client) is anthropic.Anthropic`): see `seams.py` for the reason. The classes
here make it, and `isinstance` with them says whether a client is guarded.

What differs from the SDK, and why:
* A key from the vault or a variable is managed: the client holds a placeholder, the transport puts the key on a copy of the
  request after the egress check (THREATS K.4). A key given as an argument is the program's own and stays what it is.
* An address from a variable or a profile counts only if it is bound or loopback (E.1). One given as an argument counts.
* A caller's `http_client` is copied (its connection pool is shared) and the copy's transport and mounts are guarded (E.4).
* Spans never hold prompts, and the debug log no bodies (R.10).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import anthropic
from safellm.errors import ConfigurationError
from safellm_anthropic.construct import construct
from safellm_anthropic.platforms import ANTHROPIC, AWS, FOUNDRY, GOOGLE_CLOUD, MANTLE, VERTEX, Platform
from safellm_anthropic.seams import seam, seam_signature

_Class = TypeVar("_Class", bound=type)
_GUARDED: dict[type, type] = {}  # our class -> the SDK's class that it makes


class _Factory(type):
    """Makes the SDK's own instances in place of instances of the guarded class; a program's subclass is made as usual."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        sdk = _GUARDED.get(cls)
        if sdk is None:
            return super().__call__(*args, **options)
        client: Any = object.__new__(sdk)
        cls.__init__(client, *args, **options)  # type: ignore[misc]  # of the very class that the SDK expects
        return client

    def __instancecheck__(cls, instance: object) -> bool:
        if super().__instancecheck__(instance):
            return True
        from safellm.transports.http import guard_of  # noqa: PLC0415

        sdk = _GUARDED.get(cls)
        return (
            sdk is not None and isinstance(instance, sdk) and guard_of(getattr(instance, "_client", None)) is not None
        )


def _guards(sdk: Any, platform: Platform) -> Callable[[_Class], _Class]:
    """Have a class make the SDK's clients, and give it the SDK's signature for programs and editors that inspect it."""

    def dress(made: _Class) -> _Class:
        seam(sdk, platform)
        if platform.signs:
            seam_signature(sdk)
        init: Any = made.__init__  # type: ignore[misc]  # of a class
        own = inspect.signature(init).parameters["safellm"]
        functools.update_wrapper(init, sdk.__init__)
        theirs = inspect.signature(sdk.__init__)
        init.__signature__ = theirs.replace(parameters=[*theirs.parameters.values(), own])
        _GUARDED[made] = sdk
        return made

    return dress


if TYPE_CHECKING:
    _Meta = type
else:
    _Meta = _Factory


@_guards(anthropic.Anthropic, ANTHROPIC)
class Anthropic(anthropic.Anthropic, metaclass=_Meta):
    """`anthropic.Anthropic`, guarded. Takes the SDK's arguments and `safellm=`, a mapping of policy values for this client."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.Anthropic, safellm, options, ANTHROPIC)


@_guards(anthropic.AsyncAnthropic, ANTHROPIC)
class AsyncAnthropic(anthropic.AsyncAnthropic, metaclass=_Meta):
    """`anthropic.AsyncAnthropic`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AsyncAnthropic, safellm, options, ANTHROPIC)


@_guards(anthropic.AnthropicFoundry, FOUNDRY)
class AnthropicFoundry(anthropic.AnthropicFoundry, metaclass=_Meta):
    """`anthropic.AnthropicFoundry`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AnthropicFoundry, safellm, options, FOUNDRY)


@_guards(anthropic.AsyncAnthropicFoundry, FOUNDRY)
class AsyncAnthropicFoundry(anthropic.AsyncAnthropicFoundry, metaclass=_Meta):
    """`anthropic.AsyncAnthropicFoundry`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AsyncAnthropicFoundry, safellm, options, FOUNDRY)


@_guards(anthropic.AnthropicVertex, VERTEX)
class AnthropicVertex(anthropic.AnthropicVertex, metaclass=_Meta):
    """`anthropic.AnthropicVertex`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AnthropicVertex, safellm, options, VERTEX)


@_guards(anthropic.AsyncAnthropicVertex, VERTEX)
class AsyncAnthropicVertex(anthropic.AsyncAnthropicVertex, metaclass=_Meta):
    """`anthropic.AsyncAnthropicVertex`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AsyncAnthropicVertex, safellm, options, VERTEX)


@_guards(anthropic.AnthropicGoogleCloud, GOOGLE_CLOUD)
class AnthropicGoogleCloud(anthropic.AnthropicGoogleCloud, metaclass=_Meta):
    """`anthropic.AnthropicGoogleCloud`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AnthropicGoogleCloud, safellm, options, GOOGLE_CLOUD)


@_guards(anthropic.AsyncAnthropicGoogleCloud, GOOGLE_CLOUD)
class AsyncAnthropicGoogleCloud(anthropic.AsyncAnthropicGoogleCloud, metaclass=_Meta):
    """`anthropic.AsyncAnthropicGoogleCloud`, guarded. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AsyncAnthropicGoogleCloud, safellm, options, GOOGLE_CLOUD)


@_guards(anthropic.AnthropicAWS, AWS)
class AnthropicAWS(anthropic.AnthropicAWS, metaclass=_Meta):
    """`anthropic.AnthropicAWS`, guarded: signed after the guards. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AnthropicAWS, safellm, options, AWS)


@_guards(anthropic.AsyncAnthropicAWS, AWS)
class AsyncAnthropicAWS(anthropic.AsyncAnthropicAWS, metaclass=_Meta):
    """`anthropic.AsyncAnthropicAWS`, guarded: signed after the guards. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AsyncAnthropicAWS, safellm, options, AWS)


@_guards(anthropic.AnthropicBedrockMantle, MANTLE)
class AnthropicBedrockMantle(anthropic.AnthropicBedrockMantle, metaclass=_Meta):
    """`anthropic.AnthropicBedrockMantle`, guarded: signed after the guards. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AnthropicBedrockMantle, safellm, options, MANTLE)


@_guards(anthropic.AsyncAnthropicBedrockMantle, MANTLE)
class AsyncAnthropicBedrockMantle(anthropic.AsyncAnthropicBedrockMantle, metaclass=_Meta):
    """`anthropic.AsyncAnthropicBedrockMantle`, guarded: signed after the guards. Takes the SDK's arguments and `safellm=`."""

    def __init__(self, *, safellm: Mapping[str, object] | None = None, **options: Any) -> None:
        construct(self, anthropic.AsyncAnthropicBedrockMantle, safellm, options, MANTLE)


class _Bedrock:
    """Refuses: its streams come in AWS's own binary frames, which no guard reads."""

    def __init__(self, *_: object, **__: object) -> None:
        raise ConfigurationError(
            "AnthropicBedrock streams in a binary form that no guard reads",
            remedy="Use AnthropicBedrockMantle, which speaks the Messages API on Bedrock.",
        )


class AnthropicBedrock(_Bedrock, anthropic.AnthropicBedrock):
    """In the place of `anthropic.AnthropicBedrock`, for `isinstance` and annotations; making one is refused."""


class AsyncAnthropicBedrock(_Bedrock, anthropic.AsyncAnthropicBedrock):
    """In the place of `anthropic.AsyncAnthropicBedrock`, for `isinstance` and annotations; making one is refused."""
