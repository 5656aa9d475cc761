"""The endpoints of the Gemini API and of Vertex AI, as `google-genai` and `google-generativeai` call them.

Google's paths say what is done by a verb behind the last colon (AIP-136), or by a collection and a name in it. What stands before,
a version, a project and a location, a gateway's own prefix, says nothing of the operation.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from safellm._core.adapter import Billing, Route, Upload
from safellm._core.routes import is_read, unknown_route

# Verbs: OpenTelemetry's operation name ("" for none) and how the call is billed.
_VERBS: dict[str, tuple[str, Billing]] = {
    "generateContent": ("generate_content", Billing.TOKENS),
    "streamGenerateContent": ("generate_content", Billing.TOKENS),
    "generateAnswer": ("generate_content", Billing.TOKENS),
    "embedContent": ("embeddings", Billing.TOKENS),
    "batchEmbedContents": ("embeddings", Billing.TOKENS),
    "generateText": ("text_completion", Billing.OTHER),
    "generateMessage": ("chat", Billing.OTHER),
    "embedText": ("embeddings", Billing.OTHER),
    "batchEmbedText": ("embeddings", Billing.OTHER),
    "predict": ("", Billing.OTHER),
    "rawPredict": ("", Billing.OTHER),
    "streamRawPredict": ("", Billing.OTHER),
    "predictLongRunning": ("", Billing.OTHER),
    "batchGenerateContent": ("", Billing.OTHER),
    "asyncBatchEmbedContent": ("", Billing.OTHER),
    "validateReinforcementTuningReward": ("", Billing.OTHER),
    "countTokens": ("", Billing.FREE),
    "countTextTokens": ("", Billing.FREE),
    "countMessageTokens": ("", Billing.FREE),
    "computeTokens": ("", Billing.FREE),
    "fetchPredictOperation": ("", Billing.FREE),
    "uploadToFileSearchStore": ("", Billing.OTHER),
    "importFile": ("", Billing.OTHER),
    "register": ("", Billing.FREE),
    "download": ("", Billing.FREE),
    "cancel": ("", Billing.FREE),
    "wait": ("", Billing.FREE),
    "ping": ("", Billing.FREE),
    "rotateSigningSecret": ("", Billing.FREE),
    "transferOwnership": ("", Billing.FREE),
    "query": ("", Billing.FREE),
    "batchCreate": ("", Billing.OTHER),
    "batchUpdate": ("", Billing.OTHER),
    "batchDelete": ("", Billing.FREE),
}
_COLLECTIONS = frozenset(
    {
        "models", "tunedModels", "endpoints", "publishers", "files", "cachedContents", "batches", "batchPredictionJobs",
        "fileSearchStores", "documents", "operations", "tuningJobs", "corpora", "chunks", "permissions", "generatedFiles",
        "interactions", "agents", "credentials", "decisions", "environments", "triggers", "executions", "voices", "webhooks",
        "auth_tokens", "media",
    }
)  # fmt: skip
_MODELS = frozenset({"models", "tunedModels", "endpoints"})
_STREAMS = frozenset({"streamGenerateContent"})
# Creating one of these starts work that is billed by measures which no one knows before.
_BILLED_COLLECTIONS = {
    "interactions": ("chat", Billing.TOKENS),
    "cachedContents": ("", Billing.TOKENS),
    "batches": ("", Billing.OTHER),
    "batchPredictionJobs": ("", Billing.OTHER),
    "tuningJobs": ("", Billing.OTHER),
    "tunedModels": ("", Billing.OTHER),
    "decisions": ("", Billing.OTHER),
    "executions": ("", Billing.OTHER),
    "triggers": ("", Billing.OTHER),
    "voices": ("", Billing.OTHER),
}
_ACCOUNTS = ("emailAddress", "email_address")  # whom a corpus or a tuned model is shared with or given to
_RESUMABLE = Upload(
    command="x-goog-upload-command",
    offset="x-goog-upload-offset",
    length="x-goog-upload-header-content-length",
    media="x-goog-upload-header-content-type",
    names=("x-goog-upload-file-name",),
)


@lru_cache(maxsize=512)
def find_route(method: str, path: str) -> Route:
    """Return the endpoint that a request's path names, or an unknown one."""
    segments = [part for part in path.split("/") if part]
    last, _, verb = segments[-1].rpartition(":") if segments and ":" in segments[-1] else ("", "", "")
    if verb:
        segments[-1] = last
    places = [index for index, part in enumerate(segments) if part in _COLLECTIONS]
    uploads = "upload" in segments[: places[0]] if places else "upload" in segments
    if verb and verb not in _VERBS:
        return unknown_route(method, path)
    if not places and not verb:
        # Where a file's bytes go, the server says: a header says that it is a file.
        return replace(unknown_route(method, path), upload=_RESUMABLE)
    template = _template(segments[places[0] :] if places else segments[-1:]) + (f":{verb}" if verb else "")
    operation, billing = _billing(method, segments, places, verb)
    return Route(
        method=method,
        template=template,
        operation=operation or f"{method.lower()} {template}",
        billing=billing,
        binary=verb == "download" or (method == "GET" and "environments" in segments and "files" in segments),
        upload=_upload(method, uploads or segments[-1] == "files"),
        model=_model(segments) if verb else "",
        streams=verb in _STREAMS,
        accounts=_ACCOUNTS if verb == "transferOwnership" or (not verb and "permissions" in segments[-2:]) else (),
    )


def _template(segments: list[str]) -> str:
    """Return the path with names in braces: every other segment, unless it is a collection itself."""
    parts: list[str] = []
    for part in segments:
        named = bool(parts) and part not in _COLLECTIONS
        parts.append("{name}" if named else part)
    return "/" + "/".join(parts)


def _billing(method: str, segments: list[str], places: list[int], verb: str) -> tuple[str, Billing]:
    if verb:
        return _VERBS[verb]
    if is_read(method):
        return "", Billing.FREE
    at_collection = bool(places) and places[-1] == len(segments) - 1
    return _BILLED_COLLECTIONS.get(segments[-1], ("", Billing.FREE)) if at_collection else ("", Billing.FREE)


def _upload(method: str, uploads: bool) -> Upload | None:
    if not uploads:
        return None
    return Upload() if method == "PUT" else _RESUMABLE


def _model(segments: list[str]) -> str:
    """Return the model as the price list names it: without its collection; a tuned one with it."""
    for index in range(len(segments) - 2, -1, -1):
        if segments[index] in _MODELS:
            name = segments[index + 1]
            return name if segments[index] == "models" else f"{segments[index]}/{name}"
    return ""
