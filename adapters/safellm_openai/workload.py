"""X.509 workload identities: the exchange of a certificate for a token has a way of its own beside the guards.

The SDK sends it through the HTTP client of its calls, since that holds the certificate. It goes to one address, which stands in the
SDK's code, and holds four short names and nothing else; both is checked here. So it carries no prompt and no key. Its answer is a
credential: the SDK alone sees it, no guard reads it and no record holds it. All calls take the guarded way.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import openai
from safellm._core.origin import Origin
from safellm.errors import ConfigurationError, Reason, Refused
from safellm_openai.adapter import OpenAIAdapter

EXCHANGE: Final = "https://mtls.auth.openai.com/oauth/token"
_PATH: Final = (b"https", b"mtls.auth.openai.com", None, b"/oauth/token")
_HEADERS: Final = frozenset({"host", "content-type", "content-length"})
_NAMES: Final = ("identity_provider_id", "service_account_id")
_NAME: Final = re.compile(r"[A-Za-z0-9._~:/@+=-]{1,200}")  # an identifier; no text that anybody wrote


class _MutualAdapter(OpenAIAdapter):
    """OpenAI's dialect, at the addresses that ask for certificates."""

    origins = tuple(Origin("https", f"{host}.api.openai.com", 443) for host in ("mtls", "mtls-us", "mtls-eu"))


ADAPTER: Final = _MutualAdapter()


def is_x509(options: Mapping[str, Any]) -> bool:
    """Return whether the SDK's arguments ask for such an identity."""
    identity = options.get("workload_identity")
    return isinstance(identity, Mapping) and identity.get("type") == "x509"


def give_way(client: Any) -> None:
    """Have a guarded client's exchange go its own way, and all its calls through the guard.

    Raises:
        ConfigurationError: the SDK exchanges tokens in a way that we don't know, or the names of the identity are no names.
    """
    auth: Any = getattr(client, "_workload_identity_auth", None)
    identity = getattr(auth, "workload_identity", None)
    if getattr(auth, "token_exchange_url", None) != EXCHANGE or not hasattr(auth, "_http_client"):
        raise ConfigurationError(
            f"openai {openai.__version__} exchanges the tokens of X.509 identities in a way that safellm doesn't know",
            remedy="Use an API key, another workload identity, or a version of openai that safellm names as supported.",
        )
    if not isinstance(identity, Mapping) or any(_NAME.fullmatch(str(identity.get(name))) is None for name in _NAMES):
        raise ConfigurationError(
            "The names of this X.509 workload identity are none that OpenAI gives",
            remedy="Copy identity_provider_id and service_account_id again from OpenAI's settings.",
        )
    wanted = {name: identity[name] for name in _NAMES}
    auth._http_client = _Ways(client._client, wanted)  # noqa: SLF001 - the SDK's one place for it


class _Ways:
    """The guarded HTTP client, but for the way that the exchange takes."""

    def __init__(self, client: Any, identity: Mapping[str, str]) -> None:
        self._safellm_client, self._safellm_identity = client, identity

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:
        """The client's class: the SDK asks for it to tell HTTP libraries apart."""
        return type(self._safellm_client)

    def _transport_for_url(self, url: Any) -> Any:
        guarded = self._safellm_client._transport_for_url(url)  # noqa: SLF001 - what the SDK asks for
        if not _is_there(url):
            return guarded
        return _Exchange(vars(guarded)["_inner"], self._safellm_identity)  # below a guarded transport: what connects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._safellm_client, name)


class _Exchange:
    """Sends the exchange and nothing else, for clients of both worlds."""

    def __init__(self, below: Any, identity: Mapping[str, str]) -> None:
        self._below, self._identity = below, identity

    def handle_request(self, request: Any) -> Any:
        """Send it."""
        _check(request, request.read(), self._identity)
        request.safellm_passed = True
        return self._below.handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        """Send it."""
        _check(request, await request.aread(), self._identity)
        request.safellm_passed = True
        return await self._below.handle_async_request(request)


def _is_there(url: Any) -> bool:
    return (url.raw_scheme, url.raw_host, url.port, url.raw_path) == _PATH and not url.userinfo


def _check(request: Any, body: bytes, identity: Mapping[str, str]) -> None:
    """Refuse what isn't the exchange of this client's identity.

    Raises:
        Refused: something in it is more, or other.
    """
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    wanted = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",  # RFC 8693 2.1
        "subject_token_type": "urn:openai:params:oauth:token-type:x509",
        **identity,
    }
    is_it = (
        request.method == "POST"
        and _is_there(request.url)
        and {name.lower() for name in request.headers} <= _HEADERS
        and request.headers.get("host") == "mtls.auth.openai.com"
        and request.extensions.keys() <= {"timeout"}
        and said == wanted
        and len(body) <= len(json.dumps(wanted))  # and no second key of the same name
    )
    if not is_it:
        raise Refused(
            "This exchange of a certificate for a token holds something else than its four names",
            guard="egress",
            reason=Reason.EGRESS_REQUEST,
            remedy="Leave the exchange to the SDK: no hooks, no headers of your own.",
        )
