"""What happened to the latest calls of this process, by the names that the provider gave them. No content is kept.

A response knows its call by the provider's request id, else by its own id; so nothing is put on it, and a copy, a pickle or an
equal response says the same.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections import OrderedDict

from safellm._core.account import Account

EXTENSION = "safellm.account"  # key in an HTTP response's extensions; they come from transports, never from the wire
_MOST = 512  # calls: one or two kilobytes each

_lock = threading.Lock()
_by_name: OrderedDict[str, Account] = OrderedDict()


def note(account: Account) -> None:
    """Remember a call that is over; of two with one name, the later one counts."""
    own = account.outcome.get("gen_ai.response.id")
    names = [name for name in (_request(account.request_id), own) if name and isinstance(name, str)]
    with _lock:
        for name in names:
            _by_name[name] = account
            _by_name.move_to_end(name)
        while len(_by_name) > 2 * _MOST:
            _by_name.popitem(last=False)


def find(request_id: object, own_id: object) -> Account | None:
    """Return the call that a response belongs to, or None.

    Args:
        request_id: By which the provider names the request; it is exact, and comes first.
        own_id: Of the response.
    """
    with _lock:
        if isinstance(request_id, str) and request_id and (found := _by_name.get(_request(request_id))):
            return found
        return _by_name.get(own_id) if isinstance(own_id, str) and own_id else None


def _request(name: str) -> str:
    # Apart from the ids of responses, which another header could imitate.
    return name and f"request\x00{name}"
