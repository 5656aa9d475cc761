"""What Google keeps of a call, and how it is told not to: endpoints that aren't named here keep something, or may.

Source: "Vertex AI and zero data retention" and the documentation of the Interactions API. Grounding with Google Search or Maps
keeps prompts for 30 days, and nothing turns that off.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.adapter import Retention, Route

_TOOLS = frozenset(
    {"googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "googleMaps", "google_maps"}
)
_GENERATE = Retention(drop=("labels",), tools=_TOOLS)
_INTERACTIONS = Retention(
    force={"store": False}, drop=("labels", "metadata"), keeping={"background": None}, tools=_TOOLS
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
    if template.rpartition(":")[2] in _VERBS and ":" in template:
        return _GENERATE
    return _LIVE if template.startswith("/live ") else None
