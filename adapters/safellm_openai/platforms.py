"""Other platforms that serve OpenAI's API: the hosts that the SDK itself makes from a region, and what they are called."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from safellm._core.origin import Origin

AZURE: Final = "azure.ai.openai"  # as OpenTelemetry names them
BEDROCK: Final = "aws.bedrock"
VERTEX: Final = "gcp.vertex_ai"
PLATFORMS: Final = frozenset({AZURE, BEDROCK, VERTEX})

_HTTPS_PORT: Final = 443
_AZURE_SUFFIXES: Final = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_REGION: Final = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]+)+-\d+")
_AWS_SUFFIXES: Final = ("amazonaws.com", "api.aws")
# Parts of AWS with names of their own, by what their regions begin with.
_AWS_PARTS: Final = {
    "cn-": ("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "eusc-": ("amazonaws.eu", "api.amazonwebservices.eu"),
    "us-iso-": ("c2s.ic.gov", "api.aws.ic.gov"),
    "us-isob-": ("sc2s.sgov.gov", "api.aws.scloud"),
    "eu-isoe-": ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    "us-isof-": ("csp.hci.ic.gov", "api.aws.hci.ic.gov"),
}
_GOOGLE: Final = re.compile(r"(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com")


@lru_cache(maxsize=512)
def platform_at(host: str) -> str | None:
    """Return the platform whose own host this is; None for any other."""
    if host.endswith(_AZURE_SUFFIXES):
        return AZURE
    if _GOOGLE.fullmatch(host):
        return VERTEX
    return BEDROCK if _is_bedrock(host) else None


def is_own(origin: Origin, platform: str) -> bool:
    """Return whether an address is one that the SDK makes by itself for a platform, from a region or a project."""
    return platform_at(origin.host) == platform and origin == Origin("https", origin.host, _HTTPS_PORT)


def _is_bedrock(host: str) -> bool:
    service, _, rest = host.partition(".")
    region, _, suffix = rest.partition(".")
    if _REGION.fullmatch(region) is None:
        return False
    if service == "bedrock-mantle":
        return suffix == "api.aws"
    known = next((own for begin, own in _AWS_PARTS.items() if region.startswith(begin)), _AWS_SUFFIXES)
    return service in ("bedrock-runtime", "bedrock-runtime-fips") and suffix in known
