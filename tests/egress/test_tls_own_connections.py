"""Connections that safellm opens itself, to a webhook and to a bucket: the policy's authorities, no key log (E.6)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ssl

import pytest

from safellm._core.policy import Policy
from safellm.errors import ConfigurationError
from safellm.stores.journal.background import Posted
from safellm.stores.journal.keepers import keep
from safellm.stores.journal.webhook import WebhookSink
from safellm.stores.tls import Authorities, authorities_of, own_context


@pytest.fixture
def server(foreign):
    """A TLS server whose authority nobody knows; return (its address, requests that arrived)."""
    port, seen = foreign
    return f"https://127.0.0.1:{port}", seen


def post(url, trust):
    WebhookSink(f"{url}/events", trust=trust)._post([Posted("budget.warning", {}, 0)])


def put(url, trust):
    keep("log\n3\nroot\n", f"s3://my-bucket?endpoint={url}", trust=trust)


@pytest.fixture(params=[post, put], ids=["webhook", "bucket"])
def send(request, monkeypatch):
    """Either kind of connection."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 8)
    return request.param


def test_e_6_own_connections_take_the_authority_of_the_policy(send, server, authority):
    """A server inside a company, with the bundle that providers are checked with too; without it nothing arrives."""
    url, seen = server
    with pytest.raises((ssl.SSLError, ConfigurationError)):
        send(url, Authorities())
    assert seen == []
    send(url, authorities_of(Policy.model_validate({"egress": {"ca_bundle": str(authority.bundle)}})))
    assert len(seen) == 1


def test_e_6_own_connections_of_strict_mode_take_no_authority_of_the_environment(send, server, authority, monkeypatch):
    """SSL_CERT_FILE counts in guard mode only, as for providers."""
    url, seen = server
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with pytest.raises((ssl.SSLError, ConfigurationError)):
        send(url, Authorities(system=True))
    assert seen == []
    send(url, Authorities())
    assert len(seen) == 1


def test_e_6_own_connections_write_no_key_log(send, server, authority, tmp_path, monkeypatch):
    """SSLKEYLOGFILE would tell whoever reads that file what was said."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    send(server[0], Authorities(bundle=str(authority.bundle)))
    assert own_context(Authorities()).keylog_filename is None
    assert own_context(Authorities()).verify_mode is ssl.CERT_REQUIRED
    assert not (tmp_path / "keys.log").exists()
