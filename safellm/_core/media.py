"""Tokens of an input that are not text of the request: images, documents, tools of the provider, what it has stored.

Where a provider publishes how it counts, the largest number that its rule gives is taken for each image, since most images are
named by an address and their size isn't known here. The others are estimates; each is marked so. What was really used is
settled from the answer in every case (THREATS B.7).

Sound has 10 to 32 tokens a second and moving pictures up to 300 (OpenAI, "Managing costs" of the Realtime API; Google, "Tokens"):
fewer than their bytes, but for silence and stills that are packed to next to nothing.

| what | tokens | source |
|---|---|---|
| image, OpenAI, by tiles | base + 8 tiles (2048 x 768), or the base alone with `detail: low` | OpenAI, guide "Images and vision" |
| image, OpenAI, by patches | 1,536 times the model's factor; 10,000 patches in newer models | the same |
| image, Claude | 4,784, the most after scaling down (1,600 before Opus 4.7) | Anthropic, guide "Vision" |
| image, Gemini | 16 tiles of 258 (Gemini 2); at most 2,240 (Gemini 3) | Google, "Tokens", "Media resolution" |
| audio and video in the request | its bytes: an estimate | - |
| tools with Claude | 1,024 once: the system prompt for tools has 159 to 804 | Anthropic, guide "Tool use" |
| tools that run at the provider | 4,096 each, for their description: an estimate | Anthropic, guide "Computer use" (735 and 499) |
| documents in the request | 8,192 besides their bytes: an estimate | - |
| documents by id or address, stored conversations and prompts | 32,768: an estimate | - |
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any, Final

IMAGE: Final = "image"
_DEFAULT_IMAGE = 12_288
_LOW_IMAGE = 85
_MINI_LOW_IMAGE = 2_833
# The longest name counts.
_IMAGES = {
    "gpt-4o-mini": 2_833 + 8 * 5_667,
    "gpt-4o": 85 + 8 * 170,
    "gpt-4.1": 85 + 8 * 170,
    "gpt-4.1-mini": 2_489,  # 1,536 patches x 1.62
    "gpt-4.1-nano": 3_779,  # x 2.46
    "gpt-4.5": 85 + 8 * 170,
    "gpt-4-": 85 + 8 * 170,
    "o1": 75 + 8 * 150,
    "o3": 75 + 8 * 150,
    "o4-mini": 2_642,  # x 1.72
    "computer-use-preview": 65 + 8 * 129,
    "claude": 4_784,
    "gemini": 16 * 258,
}
_NAMES = sorted(_IMAGES, key=len, reverse=True)
DOCUMENT, STORED, SERVER_TOOL, TOOL_PROMPT = 8_192, 32_768, 4_096, 1_024

_IMAGE_TYPES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_DOCUMENT_TYPES = frozenset({"file", "input_file", "document"})
_GEMINI_INLINE, _GEMINI_FILES = ("inlineData", "inline_data"), ("fileData", "file_data")
_STORED_KEYS = ("file_id", "file_url", "file_uri", "fileUri", "fileId")
_REFERENCES = (
    "previous_response_id",
    "conversation",
    "cachedContent",
    "cached_content",
    "previous_interaction_id",
    "container",
)
_OWN_TOOLS = frozenset({"function", "custom", "namespace", None})


def extra_tokens(body: Any, model: str) -> int:
    """Return an upper bound (where rules are published) or an estimate of the tokens besides the body's bytes.

    Args:
        body: The parsed body.
        model: As the request names it.
    """
    if not isinstance(body, dict):
        return 0
    total = sum(STORED for name in _REFERENCES if body.get(name))
    if isinstance(body.get("prompt"), dict):
        total += STORED  # a prompt that is kept at the provider
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        total += sum(SERVER_TOOL for one in tools if not isinstance(one, dict) or one.get("type") not in _OWN_TOOLS)
        total += TOOL_PROMPT if model.find("claude") >= 0 else 0
    waiting: list[Any] = [
        body[name] for name in ("messages", "input", "contents", "system", "systemInstruction") if name in body
    ]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            # A message that is one text has no parts: a long history costs next to nothing.
            waiting += [
                one
                for one in value
                if isinstance(one, list)
                or (isinstance(one, dict) and ("type" in one or type(one.get("content")) is not str))
            ]
        elif isinstance(value, dict):
            total += _part(value, model)
            waiting += [one for one in value.values() if isinstance(one, (dict, list))]
    return total


def image_tokens(model: str, detail: Any = None) -> int:
    """Return the most tokens that one image has with a model."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    if detail == "low" and name.startswith(("gpt-", "o1", "o3", "o4")):
        return _MINI_LOW_IMAGE if name.startswith("gpt-4o-mini") else max(_LOW_IMAGE, 256)  # 256: patches of 512 x 512
    found = next((one for one in _NAMES if name.startswith(one) or (one in ("claude", "gemini") and one in name)), None)
    return _DEFAULT_IMAGE if found is None else _IMAGES[found]


def _part(part: dict[str, Any], model: str) -> int:
    kind = part.get("type")
    if kind in _IMAGE_TYPES:
        inner = part.get("image_url")
        return image_tokens(model, inner.get("detail") if isinstance(inner, dict) else part.get("detail"))
    if kind in _DOCUMENT_TYPES:
        holders = [part, *(one for name in ("file", "source") if isinstance(one := part.get(name), dict))]
        stored = any(one.get(name) for one in holders for name in _STORED_KEYS) or any(
            one.get("type") in ("url", "file") for one in holders[1:]
        )
        return STORED if stored else DOCUMENT
    if kind is None:
        if any(isinstance(part.get(name), dict) for name in _GEMINI_FILES):
            return STORED
        inline = next((one for name in _GEMINI_INLINE if isinstance(one := part.get(name), dict)), None)
        if inline is not None:
            media = str(inline.get("mimeType", inline.get("mime_type", "")))
            return image_tokens(model) if media.startswith("image/") else DOCUMENT if "pdf" in media else 0
    return 0
