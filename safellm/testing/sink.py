"""A server on 127.0.0.1 where anything that arrives is a failure (THREATS section 6: ORIGIN and SINK)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm.testing.endpoints import error
from safellm.testing.http_server import Connection, LoopbackServer, SeenRequest


class Sink(LoopbackServer):
    """Counts what arrives; at the end of a test `assert_untouched` says that nothing did.

    A bare connection counts, without any byte, and so does a TLS greeting that never became a request.
    """

    @property
    def url(self) -> str:
        """Where to try to lead a client."""
        return f"{self.origin}/v1"

    def serve(self, request: SeenRequest, connection: Connection) -> bool:  # noqa: ARG002 - any request, the same answer
        """Refuse the request in a way that no SDK tries again."""
        connection.send_answer(error(403, "This is the sink: nothing should have come here."))
        return False

    def assert_untouched(self) -> None:
        """Raise AssertionError if anything connected since the start.

        The message shows methods, paths and header names, never values: it may end up in a public log.
        """
        count = self.connection_count
        if not count:
            return
        seen = [f"{request.method} {request.path} with {sorted(request.headers)}" for request in self.requests]
        amount = sum(map(len, self.received))
        message = (
            f"the sink got {count} connection(s), {amount} bytes, {len(seen)} request(s): {'; '.join(seen) or '-'}"
        )
        raise AssertionError(message)
