"""Which call an answer of the SDK belongs to, for `response.safellm`: its messages have no id by which it could be found.

The account hangs on the Python side of a message, not in the message: `to_dict`, equality, copies and pickles don't know of it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from safellm.stores.accounts import EXTENSION

_LATEST = threading.local()  # what the session of this thread answered last: a call of the SDK is made in one thread


def tell(client: Any) -> None:
    """Have the messages that a client returns know their call.

    Args:
        client: For content, with a guarded session.
    """
    client._transport._session.hooks["response"].append(_note)  # noqa: SLF001 - the session of the SDK's REST client
    client.generate_content = _told(client.generate_content)
    client.stream_generate_content = _told(client.stream_generate_content)


def _note(response: Any, **_: Any) -> None:
    account = getattr(response, "extensions", {}).get(EXTENSION)
    _LATEST.extensions = None if account is None else {EXTENSION: account}


def _told(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def run(*arguments: Any, **options: Any) -> Any:
        _LATEST.extensions = None
        result = call(*arguments, **options)
        extensions = _LATEST.extensions
        if extensions is None:
            return result
        return _Messages(result, extensions) if hasattr(result, "__next__") else _marked(result, extensions)

    return run


class _Messages:
    """The messages of a stream, each of which knows its call."""

    def __init__(self, messages: Iterator[Any], extensions: dict[str, Any]) -> None:
        self._messages, self._extensions = messages, extensions

    def __iter__(self) -> _Messages:
        return self

    def __next__(self) -> Any:
        return _marked(next(self._messages), self._extensions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._messages, name)


def _marked(message: Any, extensions: dict[str, Any]) -> Any:
    vars(message)["extensions"] = extensions  # where those of HTTP responses are looked for, too
    return message
