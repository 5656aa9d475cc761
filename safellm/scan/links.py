"""Links that give away more than they should: what a signed address allows and until when, and buckets that anybody may list.

A link to one object of a public bucket is no finding: documents are full of them, and publishing is what they are for.

Sources: Microsoft, "Create an account SAS" and "Create a service SAS" (sp, ss, srt, se), "List Blobs"; AWS, "Authenticating
Requests: Using Query Parameters" (X-Amz-Expires), "Query string request authentication" of signature version 2 (Expires),
"ListObjectsV2", "Virtual hosting of buckets"; Google Cloud, "Signed URLs", "Objects: list"; Cloudflare R2, "Public buckets".
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

_WINDOW: Final = 2048
_URL: Final = re.compile(r"https?://[^\s\"'<>`]{8,2048}")
_PARAMETER: Final = re.compile(r"[?&;](?:amp;)?([A-Za-z0-9-]{1,24})=([^&;\s\"'<>]{1,256})")
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_CHANGES: Final = frozenset("wdcaupx")  # write, delete, create, add, update, process, delete version
_RIGHTS: Final = {
    "r": "read", "w": "write", "d": "delete", "l": "list", "a": "add", "c": "create", "u": "update", "p": "process",
    "x": "delete versions",
}  # fmt: skip
_LONG_DAYS: Final = 30
_STAMP: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_SHOWN: Final = 60  # characters of an address in a report
_NAME: Final = 40


def describe_link(text: str, start: int, end: int) -> tuple[str, bool]:
    """Return what the link around a finding allows, in words, and whether that is far too much; nothing for no link."""
    begin = max(0, start - _WINDOW)
    window = text[begin : end + _WINDOW]
    for found in _URL.finditer(window):
        if found.start() + begin <= start and end <= found.end() + begin + 1:
            return _describe(dict(_PARAMETER.findall(found[0])))
    return "", False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link that is a finding by itself.

    Attributes:
        start: In the text; `end` likewise.
        kind: What it is, as findings name it.
        shown: Enough of it to know it by, without a signature.
        note: What it allows.
        advice: What to do about it.
    """

    start: int
    end: int
    kind: str
    severity: str
    provider: str
    shown: str
    note: str
    advice: str


_MARKS: Final = (  # one of these stands in every link that is looked at
    "amazonaws.com", "storage.googleapis.com", "storage.cloud.google.com", "blob.core.windows.net", "r2.dev",
    "r2.cloudflarestorage.com", "digitaloceanspaces.com", "X-Amz-Signature", "X-Goog-Signature",
)  # fmt: skip
_TAIL: Final = ".,;:!?)]}*_"  # of a sentence or of markup, not of a link
_S3: Final = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.)?s3(?:[.-](?:dualstack\.)?[a-z]{2}(?:-[a-z]+)+-\d)?\.amazonaws\.com(?:\.cn)?"
)
_SPACES: Final = re.compile(r"(?P<bucket>[a-z0-9][a-z0-9-]{1,61})\.[a-z]{3}\d\.(?:cdn\.)?digitaloceanspaces\.com")
_PUBLIC_R2: Final = re.compile(r"pub-[0-9a-f]{32}\.r2\.dev")
_BUCKET_PATH: Final = re.compile(r"/[a-z0-9][a-z0-9._-]{1,220}/?")
_GOOGLE_LIST: Final = re.compile(r"/(?:storage/v1|download/storage/v1)/b/[a-z0-9][a-z0-9._-]{1,220}/o/?")
_CLOSE: Final = "Take public access off it, or give out signed links to single objects that end soon."
_SHORTEN: Final = "Rotate the key that signed it if the link is not meant for everybody, and sign for minutes or hours."
_GRACE: Final = frozenset({"example", "examplebucket", "bucket", "bucketname", "mybucket", "yourbucket", "bucket-name", "my-bucket",
                           "your-bucket", "your-bucket-name", "my-bucket-name", "your_bucket"})  # fmt: skip


def find_links(text: str) -> Iterator[Link]:
    """Yield signed links of object stores that still work, and links that list or open a whole bucket."""
    if not any(mark in text for mark in _MARKS):
        return
    for found in _URL.finditer(text):
        url = found[0].rstrip(_TAIL)
        if not any(mark in url for mark in _MARKS):
            continue
        try:
            parts = urlsplit(url.replace("&amp;", "&"))
            host = (parts.hostname or "").lower()
        except ValueError:
            continue  # no address at all
        parameters = dict(_PARAMETER.findall(f"?{parts.query}"))
        link = _signed(host, parts.path, parameters) or _open(host, parts.path, parameters)
        if link is not None:
            kind, severity, provider, note, advice = link
            shown = f"{host}{parts.path}"
            yield Link(
                start=found.start(), end=found.start() + len(url), kind=kind, severity=severity, provider=provider,
                shown=shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…", note=note, advice=advice,
            )  # fmt: skip


def _signed(host: str, path: str, parameters: dict[str, str]) -> tuple[str, str, str, str, str] | None:
    """Return what a signed link that still works is, else None; those of Azure are found by their signature."""
    if "X-Amz-Signature" in parameters:
        who, end = _provider(host, "AWS S3"), _end(parameters, "X-Amz")
    elif "X-Goog-Signature" in parameters:
        who, end = "Google Cloud Storage", _end(parameters, "X-Goog")
    elif (
        "Signature" in parameters and "Expires" in parameters and {"AWSAccessKeyId", "GoogleAccessId"} & set(parameters)
    ):
        who = "AWS S3" if "AWSAccessKeyId" in parameters else "Google Cloud Storage"
        end = (
            int(parameters["Expires"][:12])
            if parameters["Expires"].isascii() and parameters["Expires"].isdigit()
            else None
        )
    else:
        return None
    left_s = None if end is None else end - time.time()
    if left_s is not None and left_s <= 0:
        return None
    days = 0 if left_s is None else int(left_s // 86_400)
    end_in_words = (
        "without an end that can be read"
        if left_s is None
        else f"for {days} more days"
        if days
        else "for less than a day"
    )
    wide = left_s is None or days > _LONG_DAYS
    return "signed-link", "critical" if wide else "medium", who, f"opens {_last(path)} {end_in_words}", _SHORTEN


def _open(host: str, path: str, parameters: dict[str, str]) -> tuple[str, str, str, str, str] | None:
    """Return what a link to a whole bucket is, else None."""
    if _PUBLIC_R2.fullmatch(host):
        return "public-bucket", "low", "Cloudflare R2", "opens everything in the bucket to everybody", _CLOSE
    bucket = _S3.fullmatch(host) or _SPACES.fullmatch(host)
    if bucket is not None:
        who, name = _provider(host, "AWS S3"), bucket["bucket"] or path.strip("/").partition("/")[0]
        whole = path in ("", "/") if bucket["bucket"] else _BUCKET_PATH.fullmatch(path) is not None
    elif host in ("storage.googleapis.com", "www.googleapis.com"):
        who, name = "Google Cloud Storage", path.strip("/").removeprefix("storage/v1/b/").partition("/")[0]
        direct = host == "storage.googleapis.com" and _BUCKET_PATH.fullmatch(path) is not None
        whole = direct or _GOOGLE_LIST.fullmatch(path) is not None
    else:
        who, name = "Azure Storage", path.strip("/")
        whole = host.endswith(".blob.core.windows.net") and parameters.get("comp", "").lower() == "list"
        whole = whole and "sig" not in parameters  # such a one is found by its signature
    if not whole or not name or name in _GRACE:
        return None
    return "listing-link", "medium", who, "lists what is in it, if it is public", _CLOSE


def _provider(host: str, usual: str) -> str:
    if host.endswith(".r2.cloudflarestorage.com"):
        return "Cloudflare R2"
    return "DigitalOcean Spaces" if host.endswith(".digitaloceanspaces.com") else usual


def _end(parameters: dict[str, str], prefix: str) -> int | None:
    """Return when a link of signature version 4 ends, in Unix seconds."""
    seconds = parameters.get(f"{prefix}-Expires", "")
    began = _STAMP.fullmatch(parameters.get(f"{prefix}-Date", ""))
    if began is None or not (seconds.isascii() and seconds.isdigit()):
        return None
    year, month, day, hour, minute, second = (int(one) for one in began.groups())
    try:
        return timegm((year, month, day, hour, minute, second)) + int(seconds[:9])
    except (ValueError, OverflowError):
        return None


def _last(path: str) -> str:
    name = unquote(path.rstrip("/").rpartition("/")[2])
    return name if name.isprintable() and 0 < len(name) <= _NAME else "it"


def _describe(parameters: dict[str, str]) -> tuple[str, bool]:
    return _azure(parameters) if "sig" in parameters and "sp" in parameters else ("", False)


def _azure(parameters: dict[str, str]) -> tuple[str, bool]:
    rights = parameters["sp"].lower()
    words = [_RIGHTS[one] for one in _RIGHTS if one in rights]
    whole = "srt" in parameters or "ss" in parameters
    parts = [f"may {', '.join(words)}" if words else "has unknown rights"]
    if whole:
        parts.append("in the whole account")
    left = _days_left(parameters.get("se", ""))
    if left is None:
        parts.append("without an end that can be read")
    elif left < 0:
        parts.append("has ended")
    else:
        parts.append(f"for {left} more days")
    changes = bool(_CHANGES & set(rights)) or "l" in rights or whole
    return "; ".join(parts), changes and (left is None or left > _LONG_DAYS)


def _days_left(text: str) -> int | None:
    found = _DATE.search(text.replace("%2D", "-"))
    if found is None:
        return None
    try:
        end = timegm((int(found[1]), int(found[2]), int(found[3]), 0, 0, 0))
    except (ValueError, OverflowError):
        return None
    return int((end - time.time()) // 86_400)
