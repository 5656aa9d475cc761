"""The order of the guards of a request, written once (DESIGN.md 3). Egress is decided before anything is read."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from safellm._core.call import Call
from safellm._core.guards import (
    canary,
    ceiling,
    content,
    hidden_input,
    plugins,
    redaction,
    retention,
    tools,
    untrusted,
    uploads,
)

Guard: TypeAlias = Callable[[Call], None]

REQUEST: tuple[tuple[str, Guard], ...] = (
    (content.NAME, content.guard),
    (retention.NAME, retention.guard),
    (hidden_input.NAME, hidden_input.guard),
    (uploads.NAME, uploads.guard),
    (untrusted.NAME, untrusted.guard),
    (tools.NAME, tools.guard),
    (plugins.NAME, plugins.guard),
    (redaction.NAME, redaction.guard),
    (untrusted.NAME, untrusted.spotlight),
    (plugins.NAME, plugins.sending),
    (canary.NAME, canary.guard),
    (ceiling.NAME, ceiling.guard),
)
