"""Which strings of Gemini bodies are something else than text. What isn't named here is text, and is guarded as text.

Google's JSON is read in both spellings, `inlineData` and `inline_data` (protobuf's JSON mapping takes either), so each name of
several words stands here twice. A name that its parent explains is written with it: `inlineData.data`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterable

from safellm._core.fields import Kind, Table

_IDENTIFIERS = (
    "id", "type", "types", "role", "model", "agent", "status", "state", "object", "mode", "language", "languageCode",
    "languageCodes", "mimeType", "responseMimeType", "outputMimeType", "imageMimeType", "responseModalities",
    "mediaResolution", "modality", "finishReason", "blockReason", "category", "threshold", "probability", "severity",
    "outcome", "behavior", "scheduling", "responseId", "modelVersion", "baseModel",
    "embeddingModel", "cachedContent", "previousInteractionId", "interactionId",
    "callId", "eventType", "eventId", "createTime", "updateTime", "expireTime", "startTime", "endTime", "ttl", "expirationTime",
    "serviceTier", "thinkingLevel", "thinkingSummaries", "dynamicThreshold", "voiceName", "voice", "taskType", "sha256Hash",
    "format", "enum", "required", "propertyOrdering", "nextPageToken", "pageToken", "continuationToken", "aspectRatio",
    "imageSize", "personGeneration", "resolution", "startOffset", "endOffset", "duration", "sourceId", "placeId", "reviewId",
    "created", "updated", "environmentId", "source", "role_arn", "operationName", "encodedPolyline", "kmsKeyName",
    "googleMapsWidgetContextToken", "jsonPath", "urlRetrievalStatus", "error.status", "referenceType", "upscaleFactor",
    "serviceAccount",
)  # fmt: skip
_NAMES = (
    "name", "displayName", "fileName", "filename", "speaker", "speakerLabel", "domain", "key", "parent", "user", "email",
    "emailAddress", "fileSearchStoreNames", "allowedFunctionNames", "excludedPredefinedFunctions", "serverName",
)  # fmt: skip
_URLS = (
    "uri", "url", "fileUri", "imageUri", "sourceUri", "downloadUri", "gcsUri", "inputUri", "outputUri", "outputUriPrefix",
    "bigqueryUri", "outputGcsUri", "trainingDatasetUri", "validationDatasetUri", "googleMapsUri", "flagContentUri", "photoUri",
    "retrievedUrl", "endpoint", "uris", "pubsubTopic", "cloudRunUri", "excludeDomains", "domains",
)  # fmt: skip
_DATA = (
    "inlineData.data", "blob.data", "imageBytes", "videoBytes", "bytesBase64Encoded", "encodedVideo", "encodedImage", "imageData",
    "voiceSampleAudio", "consentAudio", "audio.data", "image.data", "video.data", "document.data", "content.data", "input.data",
    "delta.data", "outputAudio.data", "outputImage.data", "outputVideo.data", "audioChunk.data", "mediaChunks.data", "steps.data",
    "result.data", "contents.data", "parts.data", "outputs.data", "file.data", "sources.content",
)  # fmt: skip
# Signed or encrypted by the provider: one changed byte breaks the next turn.
_OPAQUE = ("thoughtSignature", "signature", "sdkBlob", "newHandle", "sessionResumption.handle")
# Where a credential belongs. By place: a key of this name anywhere else is searched like all text.
_CREDENTIALS = (
    "apiKeyConfig.apiKeyString", "apiAuthApiKeyConfig.apiKeyString", "authConfig.apiKey", "oauthConfig.accessToken",
    "oidcConfig.idToken", "headers.Authorization", "headers.authorization", "transform.Authorization",
    "transform.authorization", "exaAiSearch.apiKey", "parallelAiSearch.apiKey",
    "credential.value", "bearer.token", "apiKey.value",
)  # fmt: skip
# Schemas and maps of the caller: what stands in them is named by the program, and says nothing to the provider.
_FREE = (
    "functionResponse.response", "toolResponse.response", "parameters", "parametersJsonSchema", "responseSchema",
    "responseJsonSchema", "responseFormat.schema", "schema", "labels", "metadata", "partMetadata", "userMetadata",
    "customMetadata", "inputSchema", "properties", "defs", "$defs", "customConfigs", "result", "references", "env", "criteria",
    "questions",
)  # fmt: skip

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def both(names: Iterable[str]) -> list[str]:
    """Return names in the spelling of JSON and in that of Python."""
    return [spelt for name in names for spelt in dict.fromkeys((name, _WORD.sub("_", name).lower()))]


TABLE = Table(
    kinds={
        **dict.fromkeys(both(_IDENTIFIERS), Kind.IDENTIFIER),
        **dict.fromkeys(both(_NAMES), Kind.NAME),
        **dict.fromkeys(both(_URLS), Kind.URL),
        **dict.fromkeys(both(_DATA), Kind.DATA),
        **dict.fromkeys(both(_OPAQUE), Kind.OPAQUE),
        **dict.fromkeys(both(_CREDENTIALS), Kind.CREDENTIAL),
        **dict.fromkeys(both(("functionCall.args", "toolCall.args", "arguments")), Kind.ARGUMENTS),
        **dict.fromkeys(both(("chosenCandidates.token", "candidates.token", "topCandidates.token")), Kind.TOKEN),
    },
    own_roles=frozenset({"system"}),
    own_keys=frozenset(both(("systemInstruction", "tools", "responseSchema", "responseJsonSchema", "responseFormat"))),
    free_keys=frozenset(both(_FREE)),
)
