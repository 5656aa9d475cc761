"""Links that give away too much: buckets that can be listed, signed links that still work. Ordinary addresses are left alone."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safellm._core.detection.rules import load_rules
from safellm.scan.leaks import find_leaks, secret_scanner
from safellm.scan.links import find_links
from safellm.scan.sources import Source

DAY = 86_400
SIGNATURE = "0123456789abcdef" * 4


def stamp(seconds_ago: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - seconds_ago))


def only(text: str) -> tuple[str, str, str]:
    (one,) = find_links(text)
    return one.kind, one.severity, one.provider


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://acme-models.s3.amazonaws.com/", "AWS S3"),
        ("https://acme-models.s3.eu-central-1.amazonaws.com", "AWS S3"),
        ("https://acme-models.s3-us-west-2.amazonaws.com/?list-type=2&prefix=secret", "AWS S3"),
        ("http://s3.amazonaws.com/acme-models/", "AWS S3"),
        ("https://s3.us-gov-west-1.amazonaws.com/acme-models", "AWS S3"),
        ("https://acme.fra1.digitaloceanspaces.com/", "DigitalOcean Spaces"),
        ("https://storage.googleapis.com/acme-models", "Google Cloud Storage"),
        ("https://storage.googleapis.com/storage/v1/b/acme-models/o?maxResults=9", "Google Cloud Storage"),
        ("https://acme.blob.core.windows.net/models?restype=container&comp=list", "Azure Storage"),
        ("https://acme.blob.core.windows.net/models?restype=container&amp;comp=list", "Azure Storage"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "see ({}).", '"{}"', "<a href='{}'>x</a>", "[x]({})"])
def test_a_link_that_lists_a_bucket_is_found(url: str, provider: str, around: str) -> None:
    """However it is written into a text; the report names the place that is opened."""
    text = around.format(url)
    assert only(text) == ("listing-link", "medium", provider)
    (one,) = find_links(text)
    assert text[one.start : one.end] == url


def test_a_public_bucket_of_r2_is_found() -> None:
    """Its development address opens all of it."""
    url = f"https://pub-{SIGNATURE[:32]}.r2.dev/weights/model.bin"
    assert only(url) == ("public-bucket", "low", "Cloudflare R2")


@pytest.mark.parametrize(
    "url",
    [
        "https://acme-models.s3.amazonaws.com/releases/app.zip",
        "https://s3.amazonaws.com/acme-models/app.zip",
        "https://s3.amazonaws.com/",
        "https://your-bucket.s3.amazonaws.com/",
        "https://storage.googleapis.com/acme-models/cake.jpg",
        "https://storage.googleapis.com/your-bucket",
        "https://storage.googleapis.com",
        "https://acme.blob.core.windows.net/models/app.zip",
        "https://console.aws.amazon.com/s3/",
        "https://bedrock-runtime.us-east-1.amazonaws.com/",
        "https://s3.amazonaws.com.evil.test/acme-models/",
        "https://[::1/amazonaws.com/",
    ],
)
def test_an_ordinary_address_is_left_alone(url: str) -> None:
    """An object, a placeholder of a document, a console, another host."""
    assert list(find_links(url)) == []


def v4(prefix: str, host: str, *, ago_s: float, lasts_s: int) -> str:
    query = (
        f"{prefix}-Algorithm=X&{prefix}-Date={stamp(ago_s)}&{prefix}-Expires={lasts_s}&{prefix}-Signature={SIGNATURE}"
    )
    return f"https://{host}/acme-models/customers.csv?{query}"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        (v4("X-Amz", "acme.s3.amazonaws.com", ago_s=60, lasts_s=7 * DAY), "AWS S3"),
        (v4("X-Amz", "abc.r2.cloudflarestorage.com", ago_s=60, lasts_s=7 * DAY), "Cloudflare R2"),
        (v4("X-Goog", "storage.googleapis.com", ago_s=60, lasts_s=7 * DAY), "Google Cloud Storage"),
    ],
)
def test_a_signed_link_that_still_works_is_found(url: str, provider: str) -> None:
    """Whoever reads it may open it; what it opens and for how long is said, the signature is not shown."""
    assert only(url) == ("signed-link", "medium", provider)
    (one,) = find_links(url)
    assert "customers.csv for 6 more days" in one.note
    assert SIGNATURE[:8] not in one.shown + one.note
    assert only(url.replace("&", "&amp;")) == ("signed-link", "medium", provider)


@pytest.mark.parametrize(
    ("who", "provider"), [("AWSAccessKeyId", "AWS S3"), ("GoogleAccessId", "Google Cloud Storage")]
)
def test_a_signed_link_that_ends_in_years_is_critical(who: str, provider: str) -> None:
    """The older form has no longest time; one that is over is no finding, one whose end can't be read is the worst."""
    host = "acme.s3.amazonaws.com" if who.startswith("AWS") else "storage.googleapis.com"

    def url(expires: object) -> str:
        return f"https://{host}/acme-models/customers.csv?{who}=someone&Expires={expires}&Signature={SIGNATURE[:27]}%3D"

    assert only(url(int(time.time()) + 3650 * DAY)) == ("signed-link", "critical", provider)
    assert only(url(int(time.time()) + 3600))[1] == "medium"
    assert only(url("soon"))[1] == "critical"
    assert list(find_links(url(int(time.time()) - 60))) == []
    ended = v4("X-Amz", "acme.s3.amazonaws.com", ago_s=8 * DAY, lasts_s=7 * DAY)
    assert list(find_links(ended)) == []


def test_links_are_findings_of_a_scan() -> None:
    """With line, column, advice of their own and a fingerprint."""
    text = "one\n  see https://acme-models.s3.amazonaws.com/ for more\n"
    (leak,) = find_leaks(Source(file="a.md", text=text), secret_scanner())
    assert (leak.line, leak.column, leak.rule) == (2, 7, "listing-link")
    assert leak.masked == "acme-models.s3.amazonaws.com/"
    assert "public access" in leak.remedy
    assert leak.fingerprint


def test_secrets_are_all_that_is_searched() -> None:
    """Every rule for secrets, and no other: personal data is no leak of a key."""
    assert {rule.type for rule in secret_scanner().rules} == {"SECRET"}  # type: ignore[attr-defined]  # of this scanner
    assert len(secret_scanner().rules) == sum(rule.type == "SECRET" for rule in load_rules())  # type: ignore[attr-defined]


@given(st.text(alphabet="htps:/.-_?&=%[]@X-AmzSignatureExpires0123456789 \n", max_size=300))
def test_any_text_is_searched_without_an_error(text: str) -> None:
    """Half addresses and nonsense too."""
    for whole in (
        text,
        f"https://x.s3.amazonaws.com/{text}",
        f"https://storage.googleapis.com/?X-Amz-Signature=1&{text}",
    ):
        assert all(one.start < one.end <= len(whole) for one in find_links(whole))
