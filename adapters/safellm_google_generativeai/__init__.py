"""The older Google SDK, `google-generativeai`: its clients over REST, with our transport inside. It speaks Gemini's dialect."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm_google_genai.adapter import GoogleAdapter

ADAPTER = GoogleAdapter(name="google-generativeai")
