"""Own TLS settings: which authorities count, no key log, TLS 1.2 at least (E.6). A real server with a real foreign authority."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import ssl
import subprocess
import sys

import pytest

import safellm
from safellm.stores.tls import context_for, is_verified


@pytest.fixture
def server(foreign):
    """A TLS server whose authority nobody knows; return (port, requests that arrived)."""
    return foreign


def call(way, port, **settings):
    url = f"https://127.0.0.1:{port}"
    return way.post(way.client(url, in_code=False, **settings), f"{url}/v1/chat/completions")


def test_e_6_foreign_authority_is_refused(way, server):
    """A certificate that nobody vouches for: nothing of the call arrives."""
    port, seen = server
    with pytest.raises(way.module.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        call(way, port)
    assert seen == []


@pytest.mark.parametrize("mode", ["guard", "strict"])
def test_e_6_pinned_authority_counts(way, server, authority, mode):
    """The policy's own bundle is the way to trust one, and the name is still checked."""
    port, seen = server
    settings = {
        "egress.ca_bundle": str(authority.bundle),
        "mode": mode,
        "egress.origins": [f"https://127.0.0.1:{port}"],
    }
    assert call(way, port, **settings).status_code == 200
    assert len(seen) == 1


def test_e_6_pinned_authority_is_the_only_one(authority, home):
    """With a bundle of the policy the system's authorities count no more."""
    from safellm._core.policy import Policy

    policy = Policy.model_validate({"egress": {"ca_bundle": str(authority.bundle)}})
    context = context_for(policy, None, http2=False)
    assert [dict(pair[0] for pair in one["subject"])["commonName"] for one in context.get_ca_certs()] == [
        "test authority"
    ]
    assert is_verified(context)
    assert context_for(policy, None, http2=False) is context
    assert context_for(policy, None, http2=True) is not context


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_e_6_authority_of_the_environment_counts_in_guard_mode_only(way, server, authority, monkeypatch, variable):
    """Strict mode has never heard of `SSL_CERT_FILE`; guard mode leaves it to the HTTP library, and `safellm doctor` tells."""
    port, seen = server
    value = authority.bundle
    if variable == "SSL_CERT_DIR":
        value = authority.bundle.parent / "hashed"
        value.mkdir()
        name = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", authority.bundle], capture_output=True, text=True, check=True
        ).stdout.strip()
        (value / f"{name}.0").write_bytes(authority.bundle.read_bytes())
    monkeypatch.setenv(variable, str(value))
    strict = {"mode": "strict", "egress.origins": [f"https://127.0.0.1:{port}"]}
    with pytest.raises(way.module.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        call(way, port, **strict)
    assert seen == []
    assert call(way, port).status_code == 200


@pytest.mark.parametrize("mode", ["guard", "strict"])
def test_e_6_no_session_key_is_logged(way, server, authority, monkeypatch, tmp_path, mode):
    """`SSLKEYLOGFILE` is set, the call succeeds, and no key of its connection is in the file."""
    port, seen = server
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))  # a library that reads it makes a context that logs
    settings = {"egress.ca_bundle": str(authority.bundle)} if mode == "strict" else {}
    options = {"mode": mode, "egress.origins": [f"https://127.0.0.1:{port}"], **settings}
    assert call(way, port, **options).status_code == 200
    assert len(seen) == 1
    assert not log.exists() or not [line for line in log.read_text().splitlines() if not line.startswith("#")]


def test_e_6_control_without_the_guard_keys_are_logged(way, server, authority, monkeypatch, tmp_path):
    """The plain library does write them: the test above can fail."""
    port, _ = server
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with way.module.Client() as client:
        client.get(f"https://127.0.0.1:{port}/")
    assert "TRAFFIC_SECRET" in log.read_text() or "CLIENT_RANDOM" in log.read_text()


def test_e_6_old_tls_is_not_spoken(way, home):
    """TLS 1.2 is the floor of every context, also of one that a library made."""
    from safellm._core.policy import Policy

    old = ssl.create_default_context()
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    for settings in ({}, {"mode": "strict"}):
        made = context_for(Policy.model_validate(settings), old, http2=False)
        assert made.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert is_verified(made)
    client = way.client()
    assert client._transport._inner._pool._ssl_context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_e_6_client_that_checks_nothing_is_refused_in_strict_mode(way):
    """`verify=False`, or any other HTTP client of the program's own: an error with a remedy when the client is made."""
    with pytest.raises(safellm.ConfigurationError) as caught:
        way.client(own=False, mode="strict", http=_client(way, verify=False), in_code=False)
    assert "http_client" in caught.value.remedy


def _client(way, **options):
    return (way.module.AsyncClient if way.is_async else way.module.Client)(**options)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_e_6_unusable_bundle_is_an_error_at_once(way, tmp_path, content):
    """A file that isn't there or holds nothing: told when the client is made."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(safellm.ConfigurationError) as caught:
        way.client(**{"egress.ca_bundle": str(bundle)})
    assert caught.value.where == "egress.ca_bundle"


def test_e_6_system_s_authorities_without_the_environment(tmp_path):
    """Strict mode has authorities although the variables point to nothing."""
    code = (
        "from safellm._core.policy import Policy\n"
        "from safellm.stores.tls import context_for\n"
        "c = context_for(Policy.model_validate({'mode': 'strict'}), None, http2=False)\n"
        "print(c.cert_store_stats()['x509_ca'] if hasattr(c, 'cert_store_stats') else 1)\n"
    )
    environ = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "none"), "SSL_CERT_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20 or sys.platform != "linux"
