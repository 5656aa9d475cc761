"""Which strings of Anthropic bodies are something else than text. What isn't named here is text, and is guarded as text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._core.fields import Kind, Table

_IDENTIFIERS = (
    "id", "ids", "type", "types", "role", "roles", "model", "models", "status", "statuses", "state", "stop_reason",
    "service_tier", "effort",
    "display", "speed", "media_type", "mime_type", "order", "order_by", "page",
    "version", "betas", "ttl", "mode", "currency", "timezone",
    "container", "custom_id", "tool_use_id", "custom_tool_use_id", "previous_message_id", "file_id", "skill_id", "agent_id",
    "agent_ids", "session_id", "session_ids", "session_thread_id", "environment_id", "environment_ids", "deployment_id",
    "deployment_ids", "memory_id", "memory_store_id", "vault_id", "vault_ids", "plugin_id", "marketplace_id", "tool_id", "tab_id",
    "download_id", "reference_id", "scope_id", "served_version_id", "service_account_id", "tenant_id", "client_id", "issuer_id",
    "organization_id", "organization_ids", "workspace_id", "workspace_ids", "api_key_id", "api_key_ids", "external_key_id",
    "rbac_group_ids", "actor_ids", "anthropic_worker_id", "channel_id", "slack_channel_id", "slack_channel_ids",
    "slack_workspace_id", "before_id", "after_id", "first_id", "last_id", "next_page", "prev_page", "request_id",
    "inference_geo", "content_sha256", "expected_content_sha256", "email_hash", "name_hash", "sha", "commit_sha",
    "allowed_callers", "error_code", "amount", "kms_arn", "role_arn", "ca_cert_pem", "ca_certificate_pem", "display_color",
    "created_at", "updated_at", "expires_at", "archived_at", "ended_at", "started_at", "starting_at", "ending_at", "page_age",
    "tool_changes.name", "apt", "cargo", "gem", "go", "npm", "pip",
)  # fmt: skip
_NAMES = (
    "name", "filename", "display_name", "mcp_server_name", "server_name", "tool_name", "toolset_name", "user_id", "user_ids",
    "user_profile_id", "user_profile_ids", "external_id", "owner_user_id", "created_by_user_id", "claude_tag_user_ids",
    "city", "region", "country", "path", "path_prefix", "mount_path", "key_name", "secret_name", "agent_name", "email",
)  # fmt: skip
_URLS = (
    "url", "mcp_server_url", "endpoint_url", "issuer_url", "repository_url", "results_url", "token_endpoint", "vault_uri",
    "discovery_base", "domain", "allowed_domains", "blocked_domains", "allowed_hosts",
)  # fmt: skip
# Encrypted or signed by the provider: one changed byte breaks the next turn.
_OPAQUE = (
    "encrypted_content",
    "encrypted_index",
    "encrypted_stdout",
    "fallback_credit_token",
    "fallback_credit_token.token",
)
# Where a credential belongs. By place: a key of this name anywhere else is searched like all text.
_CREDENTIALS = (
    "mcp_servers.authorization_token", "resources.authorization_token", ".authorization_token", "auth.access_token", "auth.token",
    "auth.secret_value", "refresh.refresh_token", "token_endpoint_auth.client_secret", "headers.Authorization",
    "headers.authorization",
)  # fmt: skip

# Maps and schemas of the caller: what stands in them is named by the program, and says nothing to the provider.
_FREE = (
    "metadata", "attributes", "claims", "tags", "settings", "keys", "properties", "schema", "input_schema", "output_schema",
    "input_examples",
)  # fmt: skip

# The signature of a thinking or compaction block covers its text: both go back as they came, to the byte, or the next turn
# is refused. The model wrote them from what it was sent, so they hold placeholders and no hidden value.
_THINKING = {"thinking": Kind.OPAQUE, "signature": Kind.OPAQUE}
_COMPACTION = {"content": Kind.OPAQUE, "signature": Kind.OPAQUE}

TABLE = Table(
    kinds={
        **dict.fromkeys(_IDENTIFIERS, Kind.IDENTIFIER),
        **dict.fromkeys(_NAMES, Kind.NAME),
        **dict.fromkeys(_URLS, Kind.URL),
        **dict.fromkeys(_OPAQUE, Kind.OPAQUE),
        **dict.fromkeys(_CREDENTIALS, Kind.CREDENTIAL),
        "input": Kind.ARGUMENTS,  # of a tool: an object, the same in requests, answers and events
    },
    typed={
        "thinking": _THINKING,
        "thinking_delta": _THINKING,
        "signature_delta": _THINKING,
        "compaction": _COMPACTION,
        "compaction_delta": _COMPACTION,
        "redacted_thinking": {"data": Kind.OPAQUE},
        "base64": {"data": Kind.DATA},
    },
    own_roles=frozenset({"system"}),
    own_keys=frozenset({"system", "tools", "output_config", "output_format"}),
    free_keys=frozenset(_FREE),
)
