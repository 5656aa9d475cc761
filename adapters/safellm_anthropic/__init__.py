"""The Anthropic adapter: the dialect's tables, and the SDK's clients with our transports inside."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm_anthropic.adapter import ADAPTER as ADAPTER

__all__ = ["ADAPTER"]
