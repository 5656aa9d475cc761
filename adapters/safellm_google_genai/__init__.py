"""The Gemini adapter: the dialect's tables, and the clients of `google-genai` with our transports inside."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm_google_genai.adapter import ADAPTER as ADAPTER

__all__ = ["ADAPTER"]
