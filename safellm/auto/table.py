"""What `install()` knows: dialects (one row for each SDK that has an adapter), and the seam of each library."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from safellm.attribute import CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider's way of speaking, and where it is spoken.

    Attributes:
        name: Of the adapter in the entry-point group `safellm.adapters`.
        hosts: Host names; `*` stands for any text.
        adapter: "package.module:NAME" of the adapter; empty: nothing can guard it yet, so it is refused.
        native: "package.module:function" that makes the SDK's own error from a refusal; empty: `safellm.Refused` itself.
        raises: The SDK has no place for errors of our making, so the transport raises them.
        keys: (name in the vault, variable) of the keys that its SDK reads.
        agent: How the SDK's user agent begins; with it a request to any origin is known for the SDK's.
        paths: Of hosts that serve other things too: what the path begins with, by host pattern.
        sdks: By dialect, whose clients can be guarded there although there is no adapter for anybody else's.
        remedy: What to do where there is no adapter.
        sockets: "package.module:function" that returns the protocol of websockets at a path; empty: they are refused.
    """

    name: str
    title: str
    hosts: tuple[str, ...]
    adapter: str = ""
    native: str = ""
    raises: bool = False
    keys: tuple[tuple[str, str], ...] = ()
    agent: str = ""
    paths: tuple[tuple[str, tuple[str, ...]], ...] = ()
    sockets: str = ""
    sdks: tuple[str, ...] = ()
    remedy: str = "Use a provider that safellm has an adapter for, or run the program without safellm."

    def has(self, host: str) -> bool:
        """Return whether a host is one of this dialect's."""
        return _pattern(self.hosts).fullmatch(host) is not None

    def paths_of(self, host: str) -> tuple[str, ...]:
        """Return what paths at a host begin with; empty when every path counts."""
        return next((prefixes for pattern, prefixes in self.paths if fnmatchcase(host, pattern)), ())


@cache
def _pattern(hosts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(one).replace(r"\*", "[a-z0-9.-]+") for one in hosts))


_BEDROCK: Final = (
    "Requests to Bedrock are signed before the guard sees them; use a client that safellm adapts: BedrockOpenAI."
)

# The first row that matches counts. Another SDK joins with one row, and with one seam below if it needs a patch of its own.
DIALECTS: Final = (
    Dialect(
        name="openai",
        title="OpenAI",
        hosts=(
            "api.openai.com", "us.api.openai.com", "eu.api.openai.com", "*.openai.azure.com", "*.services.ai.azure.com",
            "*.cognitiveservices.azure.com", "models.github.ai", "models.inference.ai.azure.com",
        ),
        adapter="safellm_openai.adapter:ADAPTER",
        native="safellm_openai.errors:native_error",
        keys=(("openai", "OPENAI_API_KEY"), ("azure", "AZURE_OPENAI_API_KEY"), ("bedrock", "AWS_BEARER_TOKEN_BEDROCK")),
        sockets="safellm_openai.translations:dialect_at",
        agent=r"(?:Async)?(?:Azure|Bedrock)?OpenAI/",
        paths=(("*.cognitiveservices.azure.com", ("/openai/",)),),
    ),
    Dialect(
        name="openai",
        title="Gemini's OpenAI-compatible side",
        hosts=("generativelanguage.googleapis.com",),
        adapter="safellm_openai.adapter:ADAPTER",
        native="safellm_openai.errors:native_error",
        paths=(("generativelanguage.googleapis.com", ("/v1beta/openai/", "/v1/openai/")),),
    ),
    Dialect(
        name="anthropic",
        title="Anthropic",
        hosts=("api.anthropic.com",),
        adapter="safellm_anthropic:ADAPTER",
        native="safellm_anthropic.errors:native_error",
        keys=(("anthropic", "ANTHROPIC_API_KEY"),),
        agent=r"(?:Async)?Anthropic(?:Bedrock|Vertex|Foundry)?/",
    ),
    Dialect(
        name="google",
        title="Google",
        hosts=("generativelanguage.googleapis.com", "aiplatform.googleapis.com", "*-aiplatform.googleapis.com"),
        adapter="safellm_google_genai:ADAPTER",
        native="safellm_google_genai.errors:native_error",
        raises=True,
        keys=(("google", "GOOGLE_API_KEY"), ("google", "GEMINI_API_KEY")),
        sockets="safellm_google_genai.sockets:dialect_at",
    ),
    Dialect(
        name="bedrock",
        title="Amazon Bedrock",
        hosts=("bedrock-runtime.*.amazonaws.com", "bedrock-runtime-fips.*.amazonaws.com"),
        sdks=("openai",),
        remedy=_BEDROCK,
    ),
    Dialect(
        name="bedrock",
        title="Amazon Bedrock Mantle",
        hosts=("bedrock-mantle.*.api.aws",),
        sdks=("openai", "anthropic"),
        remedy=_BEDROCK,
    ),
)  # fmt: skip

# Module by whose import a seam is put in, and what puts it in.
SEAMS: Final = {
    "httpx": "safellm.auto.seam_httpx:patch",
    "httpx2": "safellm.auto.seam_httpx:patch",
    "http.client": "safellm.auto.seam_stdlib:patch",
    "requests.adapters": "safellm.auto.seam_requests:patch",
    "urllib3.connectionpool": "safellm.auto.seam_urllib3:patch",
    "aiohttp.client": "safellm.auto.seam_aiohttp:patch",
    "websockets.client": "safellm.auto.seam_websockets:patch",
    "websockets.sync.client": "safellm.auto.seam_websockets:patch_connect",
    "websockets.asyncio.client": "safellm.auto.seam_websockets:patch_connect",
    "websockets.legacy.client": "safellm.auto.seam_websockets:patch_legacy",
    "websocket._core": "safellm.auto.seam_websockets:patch_websocket_client",
    "grpc": "safellm.auto.seam_grpc:patch",
    "httpx_aiohttp.transport": "safellm.auto.seam_httpx:patch_aiohttp_transport",
    "openai._vendor.httpx_aiohttp.transport": "safellm.auto.seam_httpx:patch_aiohttp_transport",
    "litellm.llms.custom_httpx.aiohttp_transport": "safellm.auto.seam_httpx:patch_aiohttp_transport",
    "openai._base_client": "safellm.auto.seam_sdks:patch",
    "openai._client": "safellm.auto.seam_sdks:patch_signing",
    "anthropic._base_client": "safellm.auto.seam_sdks:patch",
    "google.genai._api_client": "safellm.auto.seam_sdks:patch_google",
    "dspy._vendor.lm15.transports._sync": "safellm.auto.seam_dspy:patch",
    "dspy._vendor.lm15.transports._async": "safellm.auto.seam_dspy:patch_async",
    "ssl": "safellm.auto.seam_tls:patch",
    "subprocess": "safellm.auto.children:patch",
    **dict.fromkeys(CLASSES, "safellm.auto.seam_sdks:patch_responses"),
}
