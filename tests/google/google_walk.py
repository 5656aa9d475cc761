"""What the walks over Google's SDKs share: marked texts, and where they may pass."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).parents[1] / "mediation"))

from mediation_sweep import MAIL

# Where a mail address may pass, and why.
ALLOWED = (
    (r"(^|\.|_)(name|model|id|parent|resource_name|operation|operation_name)$",
     "names a thing in the URL: the provider has to know it"),
    (r"(uri|uris|url|endpoint|domain|domains|exclude_domains|pubsub_topic|gcs\w*|bigquery\w*|dest|src)(\[\])?$", "an address"),
    (r"(type|role|status|state|mode|format|language\w*|mime_type|voice|voice_name|speech_config|image_size|person_generation|response_modalities|ttl|time|offset|duration|resolution|aspect_ratio)(\[\])?$",
     "a word of the provider's own"),
    (r"(signature|handle|continuation_token|page_token|token|tokens)$", "signed or made by the provider"),
    (r"(api_key\w*|access_token|id_token|api_key_string|secret\w*|credential\w*|value)$", "what a credential store keeps"),
    (r"(_id|_ids|ids|enum|required|property_ordering|model_name|cached_content|agent|source|filter|fields|base_model|kms_key_name)(\[\])?$",
     "an identifier"),
    (r"(page_size|order_by|previous_interaction_id|path|version|etag)$", "a part of the URL"),
    (r"json_path$", "an identifier"),
    (r"(headers|transform(\[\])?)\.\*\w+$", "headers of remote tools, where credentials stand"),
    (r"^(created|updated)$", "a time"),
    (r"^(environment|filter_|accent|contexts|gender|language_code|update_mask|persona|pitch|region_code|search|type_)(\[\])?$",
     "a filter in the URL: the provider has to understand it"),
)  # fmt: skip

# What tools take is neither cleaned nor restored undeclared; what is signed stays as it is; addresses, identifiers and words of the
# provider's own are cleaned and not restored.
TOOL_INPUT = r"((functionCall|toolCall|function_call)\.(args|partialArgs)|\barguments)\b.*"
OPAQUE = r"(\b|[._*])(signature|\w+[sS]ignature|access_token|id_token)"
NAMED = (
    r"(\b|[._*])(uri|url|id|role|source|created|updated|duration|token|mime_type|model|language|agent|status|voice|object)s?(\[\])?",
    r"\w(Uri|Url|Id|Offset|Token|Type|Path|Code|Version|Polyline|Time|Model)s?(\[\])?",
    r"\b(enum|required|format)(\[\])?",
    r"\w_(uri|url|id|offset|token|type|path|code|version|polyline|time|content|model)s?(\[\])?",
)
COMES = {"raw": (TOOL_INPUT, OPAQUE), "in url": (OPAQUE,), "not restored": (TOOL_INPUT, OPAQUE, *NAMED)}


class Marks:
    """A text for each place, and the places again from what was sent."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def __call__(self, place: str, form: str) -> str:
        self.places.append(place)
        text = f"{MAIL}{len(self.places) - 1:05d}@example.org"
        return text if form != "key" else f"k {text}"

    def found(self, sent: str) -> set[str]:
        return {self.places[int(number)] for number in re.findall(MAIL + r"(\d{5})@example\.org", sent)}


def sent_of(url: str, content: bytes, headers: dict[str, str]) -> str:
    """Return all that a request says, what is encoded in it too."""
    body = content.decode("utf-8", "replace")
    hidden = []
    for encoded in re.findall(r'"data": ?"([A-Za-z0-9+/_=-]+)"', body):
        try:
            hidden.append(
                base64.b64decode(encoded.replace("-", "+").replace("_", "/") + "==").decode("utf-8", "replace")
            )
        except ValueError:
            continue
    return unquote(url) + body + "".join(hidden) + json.dumps(headers)


@dataclass(slots=True)
class Did:
    """What one method did, over both backends."""

    leaks: set[str] = field(default_factory=set)
    wrong: set[tuple[str, str]] = field(default_factory=set)  # (what, place in the answer)
    requests: int = 0
    places: int = 0
    answered: int = 0
    restored: int = 0
    routes: set[str] = field(default_factory=set)


def may_come(what: str, place: str) -> bool:
    """Return whether a marked text of an answer may have reached the program like this."""
    return any(re.search(f"(?:{pattern})$", place) for pattern in COMES.get(what, ()))


def may_leave(place: str) -> bool:
    """Return whether a marked text of a request may have reached the wire."""
    return any(re.search(pattern, place) for pattern, _ in ALLOWED)
