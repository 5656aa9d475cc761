"""Which headers of a request are searched: those that a program fills, and that aren't where a credential belongs.

* Headers that the SDK, the HTTP library and a tracer write themselves are left alone, and those whose name says that they carry a
  credential: an SDK or a gateway needs it there. The key's own header is decided by `egress` and the vault.
* The provider's own headers hold identifiers: only secrets are hidden there.
* In all others secrets and personal data are hidden as in a body, by placeholders, which are made of characters that a header
  may hold. Nothing is restored in the headers of an answer, and one with a control or a hidden character in it is left out.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from functools import lru_cache

from safellm._core.call import RequestHead
from safellm._core.fields import Field, Kind, Trust
from safellm._core.hidden import needs_cleaning
from safellm._core.policy import Output

# Written by SDKs and HTTP libraries.
_OWN = frozenset(
    {"host", "accept", "accept-encoding", "accept-language", "accept-charset", "connection", "content-type", "content-length",
     "content-encoding", "transfer-encoding", "te", "date", "expect", "upgrade", "keep-alive", "cache-control",
     "openai-version", "anthropic-version"}
)  # fmt: skip
_OWN_PREFIXES = ("x-stainless-", "x-amz-", "x-goog-")
_PROVIDERS = ("openai-", "anthropic-")
# Words of a name that says "here is a credential". An idempotency key is none.
_CREDENTIAL_WORDS = frozenset(
    {"auth", "authorization", "authentication", "authenticate", "key", "apikey", "token", "secret", "cookie", "credential",
     "credentials", "password", "jwt", "bearer", "signature"}
)  # fmt: skip
_IDEMPOTENCY = "idempotency-key"
_WORDS = re.compile(r"[-_.]")
# An SDK's or a library's own: too short, and too plain, for anything else.
_VERSION = r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}"
_AGENT = re.compile(
    rf"[A-Za-z]{{1,16}}/(?:Python|JS) {_VERSION}|google-genai-sdk/{_VERSION} gl-python/{_VERSION}|python-requests/{_VERSION}"
)
# W3C Trace Context, section 3.2: random numbers of a tracer, which look like a secret and break a trace when they change.
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_PLAIN = {"user-agent": _AGENT, "traceparent": _TRACE}


def header_fields(head: RequestHead, changed: dict[str, str]) -> list[Field]:
    """Return a field for each header that is searched.

    Args:
        head: The request.
        changed: Gets the new values; headers that stand in it are fields already.
    """
    if head.known.get("headers") == "none is searched":
        return []
    found = [
        Field(
            container=changed, key=name, text=value, trust=Trust.UNTRUSTED, path=("headers", name),
            kind=Kind.IDENTIFIER if name.startswith(_PROVIDERS) else Kind.NAME,
        )
        for name, value in head.headers
        if value and name not in changed and _is_searched(name, value)
    ]  # fmt: skip
    if not found and not changed:
        head.known["headers"] = "none is searched"
    return found


def _is_searched(name: str, value: str) -> bool:
    plain = _PLAIN.get(name)
    return _is_programs(name) and (plain is None or plain.fullmatch(value) is None)


@lru_cache(maxsize=512)
def _is_programs(name: str) -> bool:
    """Return whether a program may put anything into a header of this name but a credential."""
    if name in _OWN or name.startswith(_OWN_PREFIXES):
        return False
    return name.endswith(_IDEMPOTENCY) or _CREDENTIAL_WORDS.isdisjoint(_WORDS.split(name))


def sent_headers(
    head: RequestHead, named: dict[str, str], drops: frozenset[str], *, changed: bool
) -> tuple[tuple[str, str], ...]:
    """Ask for an answer that needs no decoding; describe the body that is sent."""
    if not (changed or drops or named):
        return (*[item for item in head.headers if item[0] != "accept-encoding"], ("accept-encoding", "identity"))
    dropped = {"accept-encoding", *drops} | ({"content-length", "transfer-encoding"} if changed else set())
    kept = tuple((name, named.get(name, value)) for name, value in head.headers if name not in dropped)
    return (*kept, ("accept-encoding", "identity"))


def shown_headers(headers: tuple[tuple[str, str], ...], output: Output) -> tuple[tuple[str, str], ...]:
    """Return the headers of an answer without those that would drive a terminal or hide something (RFC 9110 5.5 forbids them).

    Args:
        headers: Of the answer; the very ones are returned if all stay.
        output: What of this the policy wants.
    """
    values = "".join([value for _, value in headers])
    if (values.isascii() and values.isprintable()) or output.terminal_controls != "escape":
        return headers
    left_out = {name for name, value in headers if needs_cleaning(value)}
    return tuple([one for one in headers if one[0] not in left_out]) if left_out else headers
