"""Two side doors of the SDK, closed: its debug log and its spans see a request before any transport does (THREATS R.10)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from typing import Any

from safellm.errors import ConfigurationError

_LOGGER = "anthropic._base_client"
_BODY = "Request options"


class _WithoutBodies(logging.Filter):
    """Lets every record pass, without what a request says."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and record.msg.startswith(_BODY):
            record.msg, record.args = f"{_BODY}: withheld by safellm", ()
        return True


_FILTER = _WithoutBodies()


def quieten_log() -> None:
    """Keep bodies and headers of requests out of the SDK's debug log, in this process. Twice is the same as once."""
    logging.getLogger(_LOGGER).addFilter(_FILTER)


def refuse_content(option: Any) -> None:
    """Refuse an `open_telemetry` option that asks for prompts and answers in spans.

    Raises:
        ConfigurationError: it does.
    """
    traces = option.get("traces") if isinstance(option, dict) else None
    if isinstance(traces, dict) and traces.get("enabled", True) and traces.get("content_mode") == "content":
        raise ConfigurationError(
            "open_telemetry asks for the content of requests in spans, where it would stand before anything is hidden",
            remedy="Leave content_mode at 'metadata_only'; the audit trail says what was sent, without content.",
        )


def without_content(client: Any) -> None:
    """Switch the content of spans off where a variable switched it on (`ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE`)."""
    option = getattr(client, "open_telemetry", None)
    if isinstance(option, dict) and option["traces"]["content_mode"] == "content":
        # The SDK's one way to set the option; older ones have neither spans nor this.
        client._set_open_telemetry({**option, "traces": {**option["traces"], "content_mode": "metadata_only"}})  # noqa: SLF001
