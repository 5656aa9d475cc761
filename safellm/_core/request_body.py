"""The body of a request, read within the limits of its shape (THREATS K.9, E.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core import jsontext, multipart, uploads, withheld
from safellm._core.adapter import Route
from safellm._core.bodies import Body, read_body
from safellm._core.call import RequestHead, Tools
from safellm.errors import Reason


def read_request(tools: Tools, head: RequestHead, body: bytes, route: Route) -> Body:
    """Return what the guards see of a request's body.

    Raises:
        Refused: it is too large, compressed, or can't be read.
    """
    limits = tools.policy.limits
    if len(body) > limits.request_bytes:
        raise withheld.shape(Reason.SHAPE_LIMIT, f"The request has {len(body)} bytes", "Raise limits.request_bytes.")
    if head.header("content-encoding") not in ("", "identity"):
        raise withheld.shape(Reason.SHAPE_ENCODING, "The request body is compressed", "Send it uncompressed.")
    table = tools.adapter.table
    if route.upload is not None and uploads.is_file(head, route):
        return uploads.read_file(head, body, route.upload, table, max_depth=limits.json_depth)
    try:
        return read_body(body, head.header("content-type"), table, max_depth=limits.json_depth)
    except (jsontext.Malformed, multipart.Malformed) as error:
        what = f"The request body can't be read: {error}"
        raise withheld.shape(Reason.SHAPE_MALFORMED, what, "Send a well-formed body.") from None
