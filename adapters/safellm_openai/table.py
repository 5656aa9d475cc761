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
    "system_fingerprint", "obfuscation",
)  # fmt: skip
_NAMES = (
    "name", "filename", "file_name", "user", "safety_identifier", "prompt_cache_key", "user_id", "city", "region", "path",
)  # fmt: skip
_URLS = (
    "url",
    "server_url",
    "file_url",
    "image_url",
    "endpoint",
    "token_endpoint",
    "allowed_domains",
    "blocked_domains",
    "allowed_hosts",
    "mcp_server_url",
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
# Signed or encrypted by the provider, or by what a connection offer says. The last two are what compatible servers add.
_OPAQUE = (
    "encrypted_content", "input.fingerprint", "output.fingerprint", "item.fingerprint", "data.fingerprint", ".sdp", "transport.sdp",
    "reasoning_details.signature", "google.thought_signature",
)  # fmt: skip
# Where a credential belongs. By place: a key of this name anywhere else is searched like all text.
_CREDENTIALS = (
    "tools.authorization", "transport.authorization", "headers.Authorization", "headers.authorization", "auth.access_token",
    "auth.token", "auth.secret_value",
    "auth.refresh_token", "refresh.refresh_token", "token_endpoint_auth.client_secret", "domain_secrets.value",
)  # fmt: skip

# Maps and schemas of the caller: what stands in them is named by the program, and says nothing to the provider.
_FREE = (
    "metadata", "attributes", "variables", "parameters", "schema", "arguments", "request_metadata", "env", "sample",
    "output_schema", "input_schema", "item_schema", "state_variables", "datasource_item", "attribute_matchers", "jwks",
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
    },
    own_roles=frozenset({"system", "developer"}),
    own_keys=frozenset({"instructions", "tools", "functions", "response_format"}),
    token_keys=frozenset({"input", "prompt"}),
    free_keys=frozenset(_FREE),
)
