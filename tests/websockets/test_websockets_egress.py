"""Where a websocket goes, and what of a key is seen on the way: the rules of HTTP, before the first byte."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import socket

import pytest
from sockets_support import MAIL, secret

import openai
import safellm
from safellm._core.origin import parse_origin
from safellm._core.secret import Secret
from safellm.errors import Reason
from safellm.stores.vault.open import ResolvedKey
from safellm.testing.sink import Sink
from safellm.testing.websocket import LoopbackSockets


def connect(face, client, **options):
    return face.open(client.realtime.connect(model="gpt-realtime", **options))


def test_k_4_a_managed_key_is_put_in_late(face, sockets, monkeypatch, caplog):
    """The server gets it; the SDK's client, the connection and the most talkative log don't hold it."""
    monkeypatch.setenv("OPENAI_API_KEY", secret())
    caplog.set_level(logging.DEBUG)
    client = face.client(base_url=sockets.base_url)
    connection = connect(face, client)
    face.until(connection, "session.created")
    assert sockets.last.headers["authorization"] == f"Bearer {secret()}"
    log = "".join(
        one.getMessage() for one in caplog.records if one.name != "websockets.server"
    )  # the test's own server
    assert secret() not in str(connection._connection.request.headers) + client.api_key + log
    assert face.run(connection.close()) is None


def test_k_4_errors_lead_to_no_key(face, monkeypatch):
    """A connection that the server refuses: neither the error nor what it came from holds the key."""
    monkeypatch.setenv("OPENAI_API_KEY", secret())
    with LoopbackSockets(refuse=(401, {})) as server:
        client = face.client(base_url=server.base_url)
        with pytest.raises(Exception, match="401") as caught:
            connect(face, client)
        found, error = [], caught.value
        while error is not None:
            trace = error.__traceback__
            while trace is not None:
                if "/tests/" not in trace.tb_frame.f_code.co_filename:
                    found += [str(value) for value in trace.tb_frame.f_locals.values()]
                trace = trace.tb_next
            error = error.__cause__ or error.__context__
        assert secret() not in "".join(found)


def stored(monkeypatch, *origins):
    """Have the vault hold a key that is bound to these origins."""
    key = ResolvedKey(ref="vault:openai", secret=Secret(secret()), origins=frozenset(map(parse_origin, origins)))
    monkeypatch.setattr("safellm.client.resolve_key", lambda *_, **__: key)


def test_e_1_an_address_in_code_counts(face, sockets, records, monkeypatch):
    """`websocket_base_url=` is bound as `base_url=` is: a key from a variable follows, and the guard stands there too."""
    monkeypatch.setenv("OPENAI_API_KEY", secret())
    with Sink() as sink:
        client = face.client(base_url=f"{sink.url}/v1", websocket_base_url=f"ws://127.0.0.1:{sockets.port}/v1")
        for one in (client, client.with_options(timeout=3)):
            connection = connect(face, one)
            face.until(connection, "session.created")
            face.say(connection, f"I am {MAIL}")
            face.run(connection.response.create())
            face.until(connection, "response.done")
            assert sockets.last.headers["authorization"] == f"Bearer {secret()}"
            assert "I am" in (seen := "".join(sockets.last.messages))
            assert MAIL not in seen
        sink.assert_untouched()
    opened = [one for one in records() if one.get("gen_ai.operation.name") == "connect /realtime"]
    assert {one["server.port"] for one in opened} == {sockets.port}


def test_e_1_an_address_given_later_counts(face, sockets):
    """`with_options(websocket_base_url=…)`, with the program's own key."""
    with Sink() as sink:
        client = face.client(base_url=f"{sink.url}/v1", api_key="own")
        later = client.with_options(websocket_base_url=f"ws://127.0.0.1:{sockets.port}/v1")
        face.until(connect(face, later), "session.created")
        sink.assert_untouched()
    assert sockets.last.headers["authorization"] == "Bearer own"


@pytest.mark.parametrize("kind", ["vault", "later"])
def test_p_1_a_managed_key_is_not_sent_where_it_is_not_bound(face, sockets, records, monkeypatch, kind):
    """One from the vault goes where it was bound, one from a variable not to an address that is given later: nothing leaves."""
    if kind == "vault":
        stored(monkeypatch, sockets.origin)
    else:
        monkeypatch.setenv("OPENAI_API_KEY", secret())
    with Sink() as sink:
        there = {"websocket_base_url": f"ws://127.0.0.1:{sink.port}/v1"}
        client = face.client(base_url=sockets.base_url, **(there if kind == "vault" else {}))
        with pytest.raises(openai.PermissionDeniedError) as caught:
            connect(face, client if kind == "vault" else client.with_options(**there))
        assert caught.value.reason == Reason.KEY_UNBOUND
        sink.assert_untouched()
    assert [one["reason"] for one in records() if one["event.name"] == "policy.deny"] == ["key.unbound"]


def test_e_1_strict_mode_takes_no_address_from_code(face, sockets, monkeypatch):
    """Neither in the constructor nor later; a caught error opens no way."""
    stored(monkeypatch, sockets.origin)
    strict = {"base_url": sockets.base_url, "safellm": {"mode": "strict"}}
    with Sink() as sink:
        there = {"websocket_base_url": f"ws://127.0.0.1:{sink.port}/v1"}
        with pytest.raises(safellm.ConfigurationError, match="takes no address from code"):
            face.client(**strict, **there)
        client = face.client(**strict).with_options(**there)
        for _ in range(2):
            with pytest.raises(safellm.ConfigurationError, match="takes no address from code"):
                connect(face, client)
        sink.assert_untouched()


def test_e_1_the_policy_may_allow_another_origin(sync, sockets):
    """Listed, it is a place like any other."""
    client = sync.client(
        base_url="http://127.0.0.1:1/v1", api_key="k", websocket_base_url=f"ws://127.0.0.1:{sockets.port}/v1",
        safellm={"egress.origins": [sockets.origin]},
    )  # fmt: skip
    sync.until(connect(sync, client), "session.created")


def test_e_3_plain_ws_is_refused(face, monkeypatch):
    """Without encryption nothing goes to another machine; its name isn't even looked up."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    client = face.client(base_url="http://models.example/v1", api_key="k")
    with pytest.raises(safellm.Refused) as caught:
        connect(face, client)
    assert caught.value.reason == Reason.EGRESS_PLAINTEXT


@pytest.mark.parametrize("where", ["same", "other"])
def test_e_2_no_redirect_is_followed(face, where):
    """Neither to another origin, nor to another path."""
    with Sink() as sink:
        target = f"ws://127.0.0.1:{sink.port}/v1/realtime" if where == "other" else "/v1/else"
        with LoopbackSockets(refuse=(302, {"location": target})) as server:
            with pytest.raises(Exception, match="302"):
                connect(face, face.client(server))
            assert len(server.connections) == 1
        sink.assert_untouched()


def test_e_7_addresses_are_checked(face, monkeypatch, records):
    """A name that leads to the machine's metadata service: no socket is opened."""
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    monkeypatch.setattr(socket, "create_connection", None)
    client = face.client(base_url="https://models.example/v1", api_key="k")
    with pytest.raises(safellm.Refused) as caught:
        connect(face, client)
    assert caught.value.reason == Reason.EGRESS_ADDRESS
    assert "egress.address" in [one.get("reason") for one in records()]


def test_e_6_certificates_are_checked(face, authority):
    """A server that nobody vouches for gets nothing; one that the policy's bundle vouches for is spoken to."""
    context, bundle = authority
    with LoopbackSockets(tls=context) as server:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            connect(face, face.client(server))
        assert server.connections == []
        connection = connect(face, face.client(server, safellm={"egress.ca_bundle": bundle}))
        face.until(connection, "session.created")
        face.run(connection.close())


@pytest.mark.parametrize(
    "option",
    [
        {"sock": None}, {"host": "127.0.0.1"}, {"server_hostname": "x"}, {"proxy": "http://127.0.0.1:1"},
        {"create_connection": None}, {"logger": logging.getLogger("own")}, {"subprotocols": [f"key.{secret()}"]},
    ],
    ids=lambda one: next(iter(one)),
)  # fmt: skip
def test_e_4_options_that_lead_elsewhere_are_refused(face, sockets, option):
    """What could change the way, or let somebody read along."""
    with pytest.raises(safellm.Refused) as caught:
        connect(face, face.client(sockets), websocket_connection_options=option)
    assert caught.value.reason == Reason.EGRESS_REQUEST
    assert sockets.connections == []


def test_options_that_do_no_harm_are_kept(face, sockets):
    """Sizes and compression are the program's business."""
    options = {"max_size": 100, "compression": "deflate"}
    connection = connect(face, face.client(sockets), websocket_connection_options=options)
    with pytest.raises(Exception, match="1009"):
        face.until(connection, "never")  # the greeting has more than 100 bytes


def test_e_5_a_key_in_the_address_is_refused(face, sockets):
    """URLs stand in logs."""
    with pytest.raises(safellm.Refused) as caught:
        connect(face, face.client(sockets), extra_query={"api_key": secret()})
    assert caught.value.reason == Reason.EGRESS_REQUEST
    assert sockets.connections == []


def test_headers_are_searched(face, sockets):
    """What a program puts into its own headers is hidden like a body."""
    connect(face, face.client(sockets), extra_headers={"X-Customer": MAIL, "X-Note": secret()})
    sent = sockets.last.headers
    assert MAIL not in sent["x-customer"]
    assert secret() not in sent["x-note"]


def test_proxy_of_the_environment_gets_no_plain_ws(sync, monkeypatch):
    """As over HTTP: what is not encrypted goes through no proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    client = sync.client(base_url="http://models.example/v1", api_key="k", safellm={"egress.allow_http": True})
    with pytest.raises(safellm.Refused) as caught:
        connect(sync, client)
    assert caught.value.reason == Reason.EGRESS_PLAINTEXT


def test_proxy_of_the_policy_is_used(face):
    """It gets a CONNECT, and nothing of the call; a library that knows no proxies connects to nobody."""
    with Sink() as proxy:
        settings = {"egress.proxy": f"http://127.0.0.1:{proxy.port}"}
        client = face.client(base_url="https://models.example/v1", api_key="k", safellm=settings)
        with pytest.raises(Exception, match=r"403|websockets 15") as caught:
            connect(face, client)
        arrived = b"".join(proxy.received)
    if isinstance(caught.value, safellm.Refused):
        assert caught.value.reason == Reason.MEDIATION_UNSUPPORTED
        return
    assert arrived.startswith(b"CONNECT models.example:443")
    assert b"Bearer" not in arrived


def test_the_address_means_nothing_to_others(sync, sockets):
    """What the SDK is told leads nowhere: only the guarded `connect` knows where it really goes."""
    client = sync.client(sockets)
    connect(sync, client)
    # As any program gets it from now on; before the first guarded connection it is the library's own, and finds no such host.
    from websockets.sync.client import connect as plain

    with pytest.raises(safellm.Refused):
        _ = client.websocket_base_url
    with pytest.raises(safellm.Refused):
        plain("wss://0.websocket.safellm.invalid/v1/realtime")


def test_other_websockets_of_the_program_are_untouched(sync, sockets):
    """The library's own `connect` works as ever after a guarded connection was opened."""
    connect(sync, sync.client(sockets))
    import websockets.sync.client

    with websockets.sync.client.connect(f"ws://127.0.0.1:{sockets.port}/v1/responses") as plain:
        plain.send('{"type": "response.create", "input": "me@example.org"}')
        assert "response.created" in plain.recv()


@pytest.mark.parametrize("face", ["async"], indirect=True)
def test_p_1_a_release_that_connects_unasked_is_refused(face, sockets, monkeypatch):
    """Of websockets 13.0: its asyncio `connect` opens a connection where nothing can be decided before."""
    from websockets.asyncio.client import connect as library

    owner = next(one for one in library.__mro__ if "safellm_guarded" not in vars(one))
    monkeypatch.delattr(owner, "create_connection")
    with pytest.raises(openai.OpenAIError) as caught:
        connect(face, face.client(sockets))
    assert caught.value.reason == Reason.MEDIATION_UNSUPPORTED
    assert sockets.connections == []
