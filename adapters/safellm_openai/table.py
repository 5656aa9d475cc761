"""Which strings of OpenAI bodies are something else than text. What isn't named here is text, and is guarded as text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.fields import Kind, Table

_IDENTIFIERS = (
    "id", "type", "object", "role", "model", "status", "finish_reason", "stop_reason", "service_tier", "detail", "format",
    "encoding_format", "reasoning_effort", "effort", "verbosity", "purpose", "truncation", "mode", "syntax", "modality",
    "modalities", "include", "phase", "event", "call_id", "item_id", "response_id", "previous_response_id", "tool_call_id",
    "file_id", "file_ids", "vector_store_ids", "vector_store_id", "container_id", "assistant_id", "thread_id", "run_id",
    "session_id", "batch_id", "input_file_id", "output_file_id", "error_file_id", "approval_request_id", "conversation",
    "connector_id", "completion_window", "voice", "size", "quality", "background", "prompt_cache_retention",
    "system_fingerprint", "obfuscation", "md5",
)  # fmt: skip
_NAMES = ("name", "filename", "file_name", "user", "safety_identifier", "prompt_cache_key", "user_id", "city", "region", "path")
_URLS = (
    "url",
    "server_url",
    "file_url",
    "image_url",
    "endpoint",
    "token_endpoint",
    "allowed_domains",
    "blocked_domains",
)
_DATA = (
    "file_data",
    "b64_json",
    "partial_image_b64",
    "embedding",
    "input_audio.data",
    "audio.data",
    "source.data",
)
# The last two are what compatible servers add. A connection offer is plain text, but it is signed by what it says.
_OPAQUE = ("encrypted_content", "fingerprint", "sdp", "signature", "thought_signature")
_CREDENTIALS = (
    "authorization", "access_token", "refresh_token", "client_secret", "signing_secret", "headers.Authorization",
)  # fmt: skip

TABLE = Table(
    kinds={
        **dict.fromkeys(_IDENTIFIERS, Kind.IDENTIFIER),
        **dict.fromkeys(_NAMES, Kind.NAME),
        **dict.fromkeys(_URLS, Kind.URL),
        **dict.fromkeys(_DATA, Kind.DATA),
        **dict.fromkeys(_OPAQUE, Kind.OPAQUE),
        **dict.fromkeys(_CREDENTIALS, Kind.CREDENTIAL),
        "arguments": Kind.ARGUMENTS,
        "custom.input": Kind.TOOL_INPUT,
        "content.token": Kind.TOKEN,
        "refusal.token": Kind.TOKEN,
        "top_logprobs.token": Kind.TOKEN,
        "logprobs.token": Kind.TOKEN,
        "logprobs.tokens": Kind.TOKEN,
        "domain_secrets.value": Kind.CREDENTIAL,
    },
    own_roles=frozenset({"system", "developer"}),
    own_keys=frozenset({"instructions", "tools", "functions", "response_format"}),
    # The caller's own maps and schemas: what stands in them is named by the program, not by the provider.
    free_keys=frozenset({"metadata", "attributes", "variables", "parameters", "schema"}),
)
