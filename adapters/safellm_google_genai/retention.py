"""What Google keeps of a call, and how it is told not to: endpoints that aren't named here keep something, or may.

Source: "Vertex AI and zero data retention", the documentation of the Interactions API, and the SDK's types. Grounding with Google
Search or Maps keeps prompts for 30 days, and nothing turns that off; other searches and servers of MCP are somebody else's.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from safellm._core.adapter import Retention, Route
from safellm_google_genai.table import both

_TOOLS = frozenset(
    both(
        (
            "googleSearch", "googleSearchRetrieval", "googleMaps", "enterpriseWebSearch", "urlContext", "exaAiSearch",
            "parallelAiSearch", "retrieval", "mcpServer", "mcpServers",
        )
    )
)  # fmt: skip
_GENERATE = Retention(drop=("labels",), tools=_TOOLS)
# A project may log its calls to the Gemini API, unless the call says otherwise. Vertex AI doesn't know the word.
_GENERATE_GEMINI = replace(_GENERATE, force={"store": False})
_INTERACTIONS = Retention(
    force={"store": False},
    drop=("labels", "metadata"),
    # An environment keeps files; a webhook tells another address.
    keeping=dict.fromkeys(both(("background", "environment", "webhookConfig"))),
    tools=_TOOLS,
)
_LIVE = Retention(
    drop=("setup.labels",),
    # A session that can be taken up again is kept for a day.
    keeping={"setup.sessionResumption": None, "setup.session_resumption": None},
    tools=_TOOLS,
)
_VERBS = frozenset(
    {
        "generateContent", "streamGenerateContent", "generateAnswer", "embedContent", "batchEmbedContents", "generateText",
        "generateMessage", "embedText", "batchEmbedText", "predict", "rawPredict", "streamRawPredict", "countTokens",
        "countTextTokens", "countMessageTokens", "computeTokens",
    }
)  # fmt: skip


def retention_of(route: Route) -> Retention | None:
    """Return how an endpoint that takes something is told to keep nothing; None where it would."""
    template = route.template
    if template == "/interactions":
        return _INTERACTIONS
    path, _, verb = template.rpartition(":")
    if path and verb in _VERBS:
        gemini = path.startswith(("/models/", "/tunedModels/")) and verb in ("generateContent", "streamGenerateContent")
        return _GENERATE_GEMINI if gemini else _GENERATE
    return _LIVE if template.startswith("/live ") else None
