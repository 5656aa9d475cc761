"""Stage 11, decided first: a call goes to the origins that its client was made for, and a stored key only to its own.

Rules (FINDINGS.md B; THREATS E.1-E.5, promise P1):
* the origin is one of the client's, compared by scheme, host and port; a redirect is a new call and is checked as one;
* plain http only to this machine, unless the policy allows it;
* a managed key goes to the origins stored with it and nowhere else, whatever the client's own list says;
* no request extension that changes what is sent behind the URL's back.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from urllib.parse import parse_qsl

from safellm._core.call import Bounds, RequestHead
from safellm._core.policy import Policy
from safellm.errors import Reason, Refused

NAME = "egress"
# Query parameters that carry a credential: a URL stands in the logs of every machine on the way (THREATS E.5).
_KEY_PARAMETERS = frozenset({"key", "api_key", "apikey", "access_token", "oauth_token", "client_secret", "password"})
# Headers that decide where a request goes, or where it ends and how it is read.
_ONCE = frozenset({"host", "content-type", "content-encoding", "content-length", "transfer-encoding"})
# What httpx and the SDKs themselves put there; `target` or `sni_hostname` would send elsewhere than the URL says.
_HARMLESS_EXTENSIONS = frozenset(
    {
        "timeout",
        "trace",
        "openai.azure_auth_origin",
        "google_genai_managed_bearer_auth",
        "openai_x509_replay_position",
        "openai_x509_replay_file_positions",
    }  # all but the first two are notes of SDKs
)


def check(head: RequestHead, bounds: Bounds, policy: Policy) -> None:
    """Refuse a request that would leave for somewhere it must not go.

    Raises:
        Refused: `egress.origin`, `egress.plaintext`, `egress.request` or `key.unbound`.
    """
    passed = head.known.get(NAME)
    if passed is not None and passed[0] is bounds and passed[1] is policy:
        return
    _check(head, bounds, policy)
    head.known[NAME] = (bounds, policy)


def _check(head: RequestHead, bounds: Bounds, policy: Policy) -> None:
    if head.origin not in bounds.origins:
        known = ", ".join(sorted(str(origin) for origin in bounds.origins))
        raise Refused(
            f"This call would go to {head.origin}, but its client is bound to {known}",
            guard=NAME,
            reason=Reason.EGRESS_ORIGIN,
            remedy=f"Give it as base_url in code, list it in the policy (egress.origins = ['{head.origin}']), "
            f"or bind a key to it: safellm keys bind NAME {head.origin}",
        )
    if head.origin.scheme == "http" and not head.origin.is_loopback and not policy.egress.allow_http:
        raise Refused(
            f"This call would go to {head.origin} without encryption",
            guard=NAME,
            reason=Reason.EGRESS_PLAINTEXT,
            remedy="Use https, or set egress.allow_http in the policy for a network that you trust.",
        )
    for key in bounds.managed:
        if head.origin not in key.origins and head.carries(key.placeholder):
            bound = ", ".join(sorted(str(origin) for origin in key.origins))
            raise Refused(
                f"The stored key is bound to {bound} and can't be sent to {head.origin}",
                guard=NAME,
                reason=Reason.KEY_UNBOUND,
                remedy=f"If it may go there, bind it: safellm keys bind {_key_name(key.ref)} {head.origin}",
            )
    if not head.extensions <= _HARMLESS_EXTENSIONS:
        foreign = sorted(head.extensions - _HARMLESS_EXTENSIONS)
        raise Refused(
            f"The request carries the extension {foreign[0]!r}, which can change where it goes",
            guard=NAME,
            reason=Reason.EGRESS_REQUEST,
            remedy="Send the request without it.",
        )
    named = _key_parameter(head.query) if head.query else None
    if named is not None:
        raise Refused(
            f"The request's URL carries a credential, in the parameter {named!r}",
            guard=NAME,
            reason=Reason.EGRESS_REQUEST,
            remedy="Send the key in a header, where the SDKs put it.",
        )
    names = [name for name, _ in head.headers if name in _ONCE]
    if len(set(names)) != len(names):
        raise Refused(
            f"The request has the header {_doubled(names)!r} more than once, and servers differ in which one they believe",
            guard=NAME,
            reason=Reason.EGRESS_REQUEST,
            remedy="Set it once, or leave it to the SDK.",
        )
    if "host" in names and head.header("host").lower() not in _host_forms(head):
        raise Refused(
            "The Host header names another host than the URL",
            guard=NAME,
            reason=Reason.EGRESS_REQUEST,
            remedy="Leave the Host header to the SDK.",
        )


def _key_name(ref: str) -> str:
    kind, _, name = ref.partition(":")
    return name if kind == "vault" else "NAME"


def _doubled(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _key_parameter(query: str) -> str | None:
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)  # some servers take both for separators
    return next((name for name, _ in pairs if name.lower() in _KEY_PARAMETERS), None)


def _host_forms(head: RequestHead) -> set[str]:
    name = f"[{head.origin.host}]" if ":" in head.origin.host else head.origin.host
    return {name, f"{name}:{head.origin.port}"}
