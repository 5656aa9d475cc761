"""Events as JSON to a server: batches, in the background, to one address that the policy names.

No redirect is followed, no proxy is asked, nothing of the answer but its status is read (THREATS E.2). Which origins are allowed is
decided when the policy is read.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Final

from safellm._core.effects import JSON
from safellm._core.origin import webhook_target
from safellm._core.record import rfc3339
from safellm._version import __version__
from safellm.stores.journal.background import Background, Posted
from safellm.stores.tls import Authorities, own_context

_TIMEOUT_S: Final = 5.0
_BATCH: Final = 100
_FIRST_ERROR: Final = 300  # a redirect is none of ours either


class WebhookSink:
    """Posts events as `{"events": [...]}`.

    Args:
        url: The address; its origin was checked.
        only: The events that it wants; None for all.
        trust: The authorities that count for its certificate.
    """

    def __init__(self, url: str, *, only: frozenset[str] | None = None, trust: Authorities | None = None) -> None:
        self._only = only
        self._trust = trust or Authorities()
        scheme, _, rest = url.partition("://")
        self._origin, self._path = webhook_target(url, (f"{scheme}://{rest.partition('/')[0]}",))
        self._background = Background(self._post, name=f"the webhook at {self._origin}", batch=_BATCH)

    def emit(self, event: str, fields: Mapping[str, JSON], *, time_ns: int) -> None:
        """Put the event into the queue."""
        if self._only is None or event in self._only:
            self._background.post(Posted(event, fields, time_ns))

    def _post(self, some: list[Posted]) -> None:
        events = [{"event.name": one.event, "time": rfc3339(one.time_ns), **one.fields} for one in some]
        origin = self._origin
        connection: http.client.HTTPConnection
        if origin.scheme == "https":
            context = own_context(self._trust)
            connection = http.client.HTTPSConnection(origin.host, origin.port, timeout=_TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(origin.host, origin.port, timeout=_TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json", "User-Agent": f"safellm/{__version__}"}
            connection.request("POST", self._path, json.dumps({"events": events}).encode(), headers)
            status = connection.getresponse().status
            if status >= _FIRST_ERROR:
                raise http.client.HTTPException(f"status {status}")
        finally:
            connection.close()
