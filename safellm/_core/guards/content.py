"""Stage 3: content that can't be searched follows the policy and is recorded (THREATS R.9)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.call import Call
from safellm.errors import Reason, Refused

NAME = "content"


def guard(call: Call) -> None:
    """Refuse images, audio and other binary content where the policy says so.

    Raises:
        Refused: `content.denied`.
    """
    if call.body.binary_bytes and call.policy.content.binary == "deny":
        raise Refused(
            f"The request holds {call.body.binary_bytes} bytes that can't be searched (image, audio or file)",
            guard=NAME,
            reason=Reason.CONTENT_DENIED,
            remedy="Send text, or set content.binary = 'pass' in the policy.",
        )
