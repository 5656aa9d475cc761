"""Checkpoints as objects of an S3 bucket that locks them.

Each has a name of its own and is written once (`If-None-Match: *`); the bucket's default retention keeps it, or `lock_days`.
`s3://bucket/prefix?region=eu-central-1&lock_days=400&endpoint=https://minio.example`. Credentials come from AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; give them the right to put objects, and no other. Signed by AWS Signature Version 4.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

from safellm._core.origin import Origin, parse_origin
from safellm.errors import ConfigurationError

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from safellm.stores.tls import Authorities

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")
_TIMEOUT_S: Final = 10.0
_FIRST_ERROR: Final = 300
_THERE_ALREADY: Final = 412  # Precondition Failed: written once before, and it stays
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where objects go.

    Attributes:
        path: Of the bucket and the prefix, quoted, without a slash at its end.
        lock_days: Days for which an object can't be removed by anybody (mode COMPLIANCE); None leaves it to the bucket.
    """

    origin: Origin
    path: str
    region: str
    lock_days: int | None


def parse_place(place: str) -> Bucket:
    """Take an address apart.

    Raises:
        ConfigurationError: it isn't one.
    """
    try:
        parts = urlsplit(place)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        region, days = query.pop("region", "us-east-1"), query.pop("lock_days", None)
        endpoint = query.pop("endpoint", f"https://s3.{region}.amazonaws.com")
        good = (
            parts.scheme == "s3" and not query and not parts.fragment and _BUCKET.fullmatch(parts.netloc)
            and _REGION.fullmatch(region) and (days is None or 0 < int(days) <= _MOST_DAYS)
        )  # fmt: skip
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(
            "This is no address of a bucket", remedy="Write it as s3://bucket/prefix?region=eu-central-1&lock_days=400."
        )
    path = "/".join(one for one in parts.path.split("/") if one)
    return Bucket(
        origin=parse_origin(endpoint),
        path=quote(f"/{parts.netloc}" + (f"/{path}" if path else ""), safe="/-_.~"),
        region=region,
        lock_days=None if days is None else int(days),
    )


def put(place: str, note: str, *, now_ns: int, trust: Authorities | None = None) -> None:
    """Write a note as an object named by its log and size; `trust` says which authorities count.

    Raises:
        ConfigurationError: there are no credentials.
        OSError: the server can't be reached, or refuses.
    """
    import http.client  # noqa: PLC0415 - only where a bucket is used

    bucket = parse_place(place)
    lines = note.split("\n", 2)
    name = f"{bucket.path}/{quote(lines[0], safe='/-_.~')}/{int(lines[1]):016d}.txt"
    headers = signed_headers(
        bucket, name, note.encode(), os.environ, datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    )
    connection = _connect(bucket.origin, trust)
    try:
        connection.request("PUT", name, note.encode(), headers)
        answer = connection.getresponse()
        status = answer.status
    except http.client.HTTPException as error:
        raise OSError(0, f"the bucket's server broke off ({type(error).__name__})") from None
    finally:
        connection.close()
    if status >= _FIRST_ERROR and status != _THERE_ALREADY:
        raise OSError(0, f"the bucket answered with status {status}")


def signed_headers(bucket: Bucket, path: str, body: bytes, environ: Mapping[str, str], now: datetime) -> dict[str, str]:
    """Return the headers of a PUT, signed (AWS Signature Version 4, header form).

    Raises:
        ConfigurationError: there are no credentials.
    """
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise ConfigurationError(
            "There are no credentials for the bucket of checkpoints",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of a user that may put objects there.",
        )
    stamp, digest = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    headers = {
        "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        "content-type": "text/plain; charset=utf-8",
        "host": _host(bucket.origin),
        "if-none-match": "*",
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
    }
    if bucket.lock_days is not None:
        headers["x-amz-object-lock-mode"] = "COMPLIANCE"
        until = now + timedelta(days=bucket.lock_days)
        headers["x-amz-object-lock-retain-until-date"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    token = environ.get("AWS_SESSION_TOKEN")
    if token:
        headers["x-amz-security-token"] = token
    headers["authorization"] = authorization(headers, path, bucket.region, key, secret)
    return headers


def authorization(headers: Mapping[str, str], path: str, region: str, key: str, secret: str) -> str:
    """Return the header that signs a PUT with these headers, all of which it covers."""
    names, stamp, digest = ";".join(sorted(headers)), headers["x-amz-date"], headers["x-amz-content-sha256"]
    canonical = "\n".join(
        ["PUT", path, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, text.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},Signature={signature}"


def _host(origin: Origin) -> str:
    usual = 443 if origin.scheme == "https" else 80
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == usual else f"{host}:{origin.port}"


def _connect(origin: Origin, trust: Authorities | None) -> HTTPConnection:
    import http.client  # noqa: PLC0415 - only where a bucket is used

    from safellm.stores.tls import Authorities, own_context  # noqa: PLC0415 - the same

    if origin.scheme == "https":
        context = own_context(trust or Authorities())
        return http.client.HTTPSConnection(origin.host, origin.port, timeout=_TIMEOUT_S, context=context)
    return http.client.HTTPConnection(origin.host, origin.port, timeout=_TIMEOUT_S)
