"""The last check before a connection: resolved once, every address checked, connected to a checked one (E.7)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from egress_support import answer, read_request

URL = "https://api.openai.com/v1/chat/completions"
BAD = {
    "private": ["10.1.2.3"],
    "metadata": ["169.254.169.254"],
    "oracle": ["192.0.0.192"],
    "nat64": ["64:ff9b::a9fe:a9fe"],
    "mapped": ["::ffff:169.254.169.254"],
    "loopback": ["127.0.0.1"],
    "zero": ["0.0.0.0"],
    "multicast": ["224.0.0.1"],
    "mixed": ["104.18.6.192", "10.0.0.1"],
    "mixed six": ["2606:4700::1", "::1"],
}


@pytest.mark.parametrize("case", BAD)
def test_e_7_forbidden_address_is_refused(way, resolver, connected, case):
    """No connection is begun to any address of the answer; the refusal names the host and the way out."""
    resolver.answers["api.openai.com"] = [BAD[case]]
    response = way.post(way.client(), URL)
    assert response.status_code == 403
    error = response.json()["error"]
    assert error["code"] == "egress.address"
    assert "api.openai.com" in error["message"]
    assert connected == []


def test_e_7_answer_that_flips_is_asked_once(way, resolver, connected):
    """Between check and connection nobody is asked again: the second answer is never used for the first call."""
    resolver.answers["api.openai.com"] = [["104.18.6.192"], ["127.0.0.1"]]
    client = way.client()
    with pytest.raises(way.module.ConnectError):
        way.post(client, URL)
    assert resolver.asked == ["api.openai.com"]
    assert {host for host, _ in connected} == {"104.18.6.192"}
    assert way.post(client, URL).json()["error"]["code"] == "egress.address"
    assert len(connected) == 1


def test_e_7_all_checked_addresses_are_tried(way, resolver, connected, raw):
    """When the first of a name's addresses doesn't answer, the next one is taken."""
    port = raw(lambda connection: (read_request(connection), connection.sendall(answer())))
    resolver.answers["llm.example"] = [["10.255.255.1", "127.0.0.1"]]
    url = f"http://llm.example:{port}"
    client = way.client(url, **{"egress.allow_http": True, "egress.private": [url]})
    assert way.post(client, f"{url}/v1/chat/completions").status_code == 200
    assert [host for host, _ in connected] == ["10.255.255.1", "127.0.0.1"]


def test_e_7_pooled_connection_asks_nobody(way, resolver, connected, raw):
    """The second call on a connection resolves and checks nothing."""
    seen = []

    def serve(connection):
        for _ in range(2):
            seen.append(read_request(connection))
            connection.sendall(answer())

    port = raw(serve)
    resolver.answers["llm.example"] = [["127.0.0.1"], ["10.0.0.1"]]
    url = f"http://llm.example:{port}"
    client = way.client(url, **{"egress.allow_http": True})

    async def both():
        return [await client.post(f"{url}/v1/chat/completions", json={}) for _ in range(2)]

    answers = (
        way.run(both()) if way.is_async else [client.post(f"{url}/v1/chat/completions", json={}) for _ in range(2)]
    )
    assert [one.status_code for one in answers] == [200, 200]
    assert resolver.asked == ["llm.example"]
    assert len(connected) == 1


def test_e_7_name_of_this_machine_leads_to_it_only(way, resolver, connected):
    """Plain http is open to `localhost`, so it may not lead elsewhere."""
    resolver.answers["localhost"] = [["104.18.6.192"]]
    response = way.post(way.client("http://localhost:8000"), "http://localhost:8000/v1/chat/completions")
    assert response.json()["error"]["code"] == "egress.address"
    assert connected == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "017700000001", "[::ffff:127.0.0.1]"])
def test_e_7_odd_forms_of_an_address_are_the_address(way, connected, host):
    """A number that the system reads as this machine is this machine: not reached as if it were elsewhere."""
    client = way.client(f"https://{host}", in_code=False, **{"egress.origins": [f"https://{host}"]})
    driver = client._transport.safellm_driver
    driver.tools = _strict(driver.tools)
    assert way.post(client, f"https://{host}/v1/chat/completions").json()["error"]["code"] == "egress.address"
    assert connected == []


def _strict(tools):
    import dataclasses

    from safellm._core.policy import Mode

    return dataclasses.replace(tools, policy=tools.policy.model_copy(update={"mode": Mode.STRICT}))


@pytest.mark.parametrize(
    ("settings", "in_code", "passes"),
    [
        ({}, True, True),
        ({"egress.private": ["https://llm.internal"]}, False, True),
        ({"egress.origins": ["https://llm.internal"]}, False, True),
        ({"egress.private": ["https://other.internal"], "mode": "strict"}, False, False),
        ({"egress.private": ["https://llm.internal"], "mode": "strict"}, False, True),
    ],
    ids=["in code", "private", "listed", "strict", "strict and private"],
)
def test_e_7_private_network_by_policy_or_by_code(way, resolver, connected, settings, in_code, passes):
    """An address that the program gave, or that the policy binds as private, may be in a private network."""
    resolver.answers["llm.internal"] = [["10.0.0.5"]]
    options = {"egress.origins": ["https://llm.internal"], **settings}
    client = way.client("https://llm.internal", in_code=in_code, **options)
    if passes:
        with pytest.raises(way.module.ConnectError):
            way.post(client, "https://llm.internal/v1/chat/completions")
        assert connected == [("10.0.0.5", 443)]
    else:
        assert way.post(client, "https://llm.internal/v1/chat/completions").json()["error"]["code"] == "egress.address"
        assert connected == []


def test_e_7_metadata_service_can_t_be_bound(way, resolver, connected):
    """Neither code nor policy opens it."""
    resolver.answers["llm.internal"] = [["169.254.169.254"]]
    client = way.client("https://llm.internal", **{"egress.private": ["https://llm.internal"]})
    assert way.post(client, "https://llm.internal/v1/chat/completions").json()["error"]["code"] == "egress.address"
    assert connected == []


def test_e_7_refusal_is_in_the_trail_and_nothing_is_charged(way, resolver, home):
    """Intent, outcome, and the reason; a call that never left costs nothing."""
    import json

    from safellm.stores.ledger.choose import file_ledger

    resolver.answers["api.openai.com"] = [["10.0.0.1"]]
    way.post(way.client(), URL)
    lines = [json.loads(line) for file in (home / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert [one["event.name"] for one in lines] == ["call.intent", "call.outcome", "policy.deny"]
    assert lines[2]["reason"] == "egress.address"
    assert [one.amounts.requests for one in file_ledger(home / "ledger.sqlite3").usage()] in ([], [0])


def test_program_s_own_client_is_left_alone(way, resolver, raw):
    """In guard mode a client that the program made keeps its connections; its bytes are guarded all the same."""
    port = raw(lambda connection: (read_request(connection), connection.sendall(answer())))
    http = (way.module.AsyncClient if way.is_async else way.module.Client)()
    backend = http._transport._pool._network_backend
    client = way.client(f"http://127.0.0.1:{port}", own=False, http=http)
    assert client._transport._inner._pool._network_backend is backend
    assert way.post(client, f"http://127.0.0.1:{port}/v1/chat/completions").status_code == 200


def test_library_that_keeps_connections_otherwise_is_refused(way, monkeypatch):
    """Where the check can't be put in, no client is made: nothing goes out unchecked."""
    import safellm

    client = (way.module.AsyncClient if way.is_async else way.module.Client)()
    pool = client._transport._pool
    del client._transport._pool
    with pytest.raises(safellm.ConfigurationError, match="keeps its connections"):
        way.client(http=client)
    client._transport._pool = pool
    backend = pool._network_backend
    del pool._network_backend
    with pytest.raises(safellm.ConfigurationError, match="keeps its connections"):
        way.client(http=client)
    pool._network_backend = backend
