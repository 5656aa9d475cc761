"""The broker: the same guards, the key in another process, any program (THREATS K.6, K.8, K.10; promises P1-P3)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from typing import Any

import pytest

import openai
import safellm
from safellm.broker.peers import peer_uid
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.testing.replies import Reply

HELLO = [{"role": "user", "content": "hello"}]
CHAT = "/v1/chat/completions"


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o", "messages": HELLO, **options})


def body(**more: Any) -> bytes:
    return json.dumps({"model": "gpt-4o", "messages": HELLO, **more}).encode()


def bearer(grant: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {grant.text()}", "content-type": "application/json"}


def until(true: Any) -> None:
    end = time.monotonic() + 30  # a broker has much to load at its first call, and tests share two cores
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("family", ["httpx", "httpx2"])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_an_sdk_client_goes_through_the_broker(
    broker, broker_grant, broker_records, provider, home, family, is_async, stream
):
    """With the grant; key, ledger and trail are the broker's, redaction too."""
    module, grant = importlib.import_module(family), broker_grant(model=["gpt-4o"])
    mail = "ann.lee@mail.example.com"
    messages = [{"role": "user", "content": f"Write to {mail}"}]

    async def run() -> str:
        async with (
            module.AsyncClient() as http,
            safellm.AsyncOpenAI(base_url=provider.base_url, api_key=grant.text(), http_client=http) as one,
        ):
            made = await ask(one, messages=messages, stream=stream)
            if not stream:
                return str(made.choices[0].message.content)
            return "".join([part.choices[0].delta.content or "" async for part in made if part.choices])

    if is_async:
        text = asyncio.run(run())
    else:
        with (
            module.Client() as http,
            safellm.OpenAI(base_url=provider.base_url, api_key=grant.text(), http_client=http) as one,
        ):
            made = ask(one, messages=messages, stream=stream)
            if stream:
                text = "".join(part.choices[0].delta.content or "" for part in made if part.choices)
            else:
                text = made.choices[0].message.content
    assert mail in text, "restored"
    seen = provider.requests[0]
    assert mail.encode() not in seen.body
    assert "slm_" not in repr(seen.raw_headers)
    assert not [name for name, _ in seen.raw_headers if name.lower().startswith("safellm")]
    until(lambda: broker_records("call.outcome"))
    assert broker_records("call.outcome")[0]["safellm.grant.id"] == grant.id
    assert not (home / "audit").exists(), "nothing is decided or recorded in the program"


def test_a_refusal_of_the_broker_is_the_sdk_s_own_error(broker, broker_grant, provider):
    """Guard, reason and remedy come through; nothing is retried."""
    with safellm.OpenAI(base_url=provider.base_url, api_key=broker_grant(model=["gpt-4o"]).text()) as one:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            ask(one, model="gpt-5")
        assert isinstance(caught.value, Refused)
        assert (caught.value.guard, caught.value.reason) == ("grant", Reason.GRANT_DENIED)
        with pytest.raises(openai.AuthenticationError):
            provider._api_key = "another"
            ask(one)
    assert len(provider.requests) == 1


def test_a_provider_can_not_pretend_to_be_the_broker(broker, broker_grant, provider):
    """Its headers of that kind are taken out."""
    from safellm.errors import Refused as Kind
    from safellm.transports.relay import packed

    lie = packed(Kind("lie", guard="grant", reason=Reason.GRANT_DENIED, remedy="-"))
    provider.reply_with(Reply(text="hello", headers={"x-safellm-refusal": lie}))
    with safellm.OpenAI(base_url=provider.base_url, api_key=broker_grant().text()) as one:
        assert ask(one).choices[0].message.content == "hello"


def test_scopes_narrow_what_is_sent_to_the_broker(broker, broker_grant, provider):
    """The grant goes over the socket with their caveats; each block has an account of its own."""
    with safellm.OpenAI(base_url=provider.base_url, api_key=broker_grant().text(), max_retries=0) as one:
        for _ in range(2):
            with safellm.scope(calls=1, model="gpt-4o"):
                ask(one)
                with pytest.raises(Refused, match="has no room"):
                    ask(one)
                with pytest.raises(Refused, match="model"):
                    ask(one, model="gpt-5")
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    "fault", ["no grant", "own key", "settings", "no socket", "no broker", "relative", "elsewhere"]
)
def test_without_broker_or_grant_nothing_is_sent(broker, broker_grant, provider, monkeypatch, fault, tmp_path):
    """Never past it."""
    options: dict[str, Any] = {"api_key": broker_grant().text()}
    problem: type[Exception] = ConfigurationError
    if fault == "no grant":
        options = {}
    elif fault == "own key":
        options = {"api_key": "a-key-of-my-own"}
    elif fault == "settings":
        options["safellm"] = {"redaction.enabled": False}
    elif fault in ("no socket", "relative", "elsewhere"):
        places = {"no socket": str(tmp_path / "x"), "relative": "s", "elsewhere": "http://192.0.2.1:80"}
        monkeypatch.setenv("SAFELLM_BROKER", places[fault])
    with pytest.raises(problem if fault != "no broker" else Refused) as caught:
        with safellm.OpenAI(base_url=provider.base_url, **options) as one:
            if fault == "no broker":
                broker.stop()
            ask(one)
    if fault == "no broker":
        assert caught.value.reason is Reason.BROKER_UNAVAILABLE
    assert provider.requests == []


def test_any_program_is_guarded(broker, broker_grant, provider):
    """curl over the socket: the address is the key's own."""
    command = [
        "curl",
        "-sS",
        "--unix-socket",
        str(broker.path),
        f"http://broker{CHAT}",
        "-d",
        body(max_tokens=7).decode(),
    ]
    headers = [
        part for name, value in bearer(broker_grant(max_output_tokens=7)).items() for part in ("-H", f"{name}: {value}")
    ]
    done = subprocess.run([*command, *headers], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["choices"]
    headers = [
        part for name, value in bearer(broker_grant(max_output_tokens=6)).items() for part in ("-H", f"{name}: {value}")
    ]
    done = subprocess.run([*command, *headers], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["error"]["code"] == "grant.denied"
    assert len(provider.requests) == 1


def test_p_1_the_key_goes_where_it_is_bound(broker, broker_grant, provider, sink):
    """Whatever address a program asks for."""
    answer = broker.ask(CHAT, headers={**bearer(broker_grant()), "safellm-origin": sink.url.rstrip("/")}, body=body())
    assert answer.status_code == 403
    assert answer.headers["x-safellm-reason"] == "key.unbound"
    answer = broker.ask(CHAT, headers={**bearer(broker_grant()), "host": "evil.test"}, body=body())
    assert answer.status_code == 200
    assert provider.requests[0].headers["host"] == provider.origin.removeprefix("http://")


@pytest.mark.parametrize("wrong", ["none", "another broker's", "edited", "revoked", "expired", "a key"])
def test_k_8_a_grant_of_another_broker_is_denied_and_recorded(
    broker, broker_grant, broker_home, broker_records, grant, wrong, provider
):
    """And what else is no grant of this one."""
    from safellm.stores.grants import Grants

    made = grant() if wrong == "another broker's" else broker_grant()
    headers = bearer(made)
    if wrong == "none":
        del headers["authorization"]
    elif wrong == "a key":
        headers["authorization"] = "Bearer sk-something"
    elif wrong == "edited":
        headers["authorization"] = headers["authorization"][:-2]
    elif wrong == "revoked":
        assert broker.ask(CHAT, headers=headers, body=body()).status_code == 200
        Grants(broker_home).revoke(made.id, now_s=1)
    elif wrong == "expired":
        headers = bearer(made.narrow(expires=1))
    before = len(provider.requests)
    answer = broker.ask(CHAT, headers=headers, body=body())
    assert answer.status_code == 403
    assert answer.headers["x-safellm-reason"] == ("grant.denied" if wrong == "expired" else "grant.invalid")
    assert len(provider.requests) == before
    assert broker_records("policy.deny")[-1]["reason"].startswith("grant.")


def test_k_8_another_user_is_denied_and_recorded(start, broker_grant, broker_records, provider, monkeypatch):
    """The system says who he is; here it is made to say something else."""
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert peer_uid(here) == os.getuid()
    monkeypatch.setattr("safellm.broker.serve.peer_uid", lambda _: os.getuid() + 1)
    broker = start()
    answer = broker.ask(CHAT, headers=bearer(broker_grant()), body=body())
    monkeypatch.undo()
    assert answer.status_code == 403
    found = broker_records("policy.deny")[0]
    assert (found["safellm.guard"], found["safellm.peer.uid"]) == ("broker", os.getuid() + 1)
    assert provider.requests == []


def test_k_8_a_grant_may_be_for_one_user(broker, broker_grant, provider):
    """The caveat `uid` is compared with what the system says."""
    assert broker.ask(CHAT, headers=bearer(broker_grant(uid=os.getuid())), body=body()).status_code == 200
    assert broker.ask(CHAT, headers=bearer(broker_grant(uid=os.getuid() + 1)), body=body()).status_code == 403
    assert len(provider.requests) == 1


def test_k_10_revoking_cuts_a_stream_of_the_broker(broker, broker_grant, broker_home, broker_records, provider):
    """At the next chunk; the program sees an error, not an end."""
    from safellm.stores.grants import Grants

    made = broker_grant()
    provider.write_chunks = lambda whole: [whole[at : at + 64] for at in range(0, len(whole), 64)]
    provider.reply_with(Reply(text="word " * 2000))
    count = 0
    with safellm.OpenAI(base_url=provider.base_url, api_key=made.text()) as one:
        with pytest.raises(openai.APIError, match="revoked"):
            for _ in ask(one, stream=True):
                count += 1
                if count == 3:
                    Grants(broker_home).revoke(made.id, now_s=1)
    assert 3 <= count < 1900
    until(lambda: broker_records("call.outcome"))
    assert broker_records("call.outcome")[0]["reason"] == "grant.invalid"


def test_a_program_that_leaves_is_settled_and_recorded(broker, broker_grant, broker_records, provider):
    """In the middle of a stream."""
    provider.write_chunks = lambda whole: [whole[at : at + 64] for at in range(0, len(whole), 64)]
    provider.reply_with(Reply(text="word " * 20_000))
    with safellm.OpenAI(base_url=provider.base_url, api_key=broker_grant().text()) as one:
        stream = ask(one, stream=True)
        next(iter(stream))
        stream.close()
        until(lambda: broker_records("call.outcome"))
    outcome = broker_records("call.outcome")[0]
    assert outcome["error.type"] in ("closed", "cancelled")
    assert outcome["safellm.budget.charged"]["output_tokens"] > 0
    until(lambda: broker.ask("/safellm/status").json()["open"] == 0)


def test_the_loopback_port_is_not_for_web_pages(start, broker_grant, provider, monkeypatch):
    """A grant is needed for every call, Host and Origin are looked at, and nothing is controlled there."""
    import httpx

    broker = start(port=0)
    url, grant = broker.addresses[1], broker_grant()
    with httpx.Client() as http:

        def send(**more: str) -> int:
            headers = {**bearer(grant), **{name.replace("_", "-"): value for name, value in more.items()}}
            return http.post(url + CHAT, headers=headers, content=body()).status_code

        assert send() == 200
        assert send(origin="http://localhost:3000") == 403
        assert send(origin="null") == 403
        assert send(sec_fetch_site="cross-site") == 403
        assert send(host="evil.test") == 403
        assert send(authorization="") == 403
        assert http.get(url + "/safellm/stop").status_code == 404
    assert len(provider.requests) == 1
    monkeypatch.setenv("SAFELLM_BROKER", url)
    with safellm.OpenAI(base_url=provider.base_url, api_key=grant.text()) as one:
        assert ask(one)


def test_a_new_policy_is_in_force_at_once_and_drops_nothing(broker, broker_grant, broker_home, provider):
    """An open stream goes on; a policy that can't be read leaves the old one, and the status says so."""
    provider.write_chunks = lambda whole: [whole[at : at + 64] for at in range(0, len(whole), 64)]
    provider.reply_with(Reply(text="word " * 3000), Reply(text="hello"))
    file, headers = broker_home / "policy.toml", bearer(broker_grant())
    with safellm.OpenAI(base_url=provider.base_url, api_key=broker_grant().text()) as one:
        stream = iter(ask(one, stream=True))
        next(stream)
        file.write_text("[limits]\nrequest_bytes = 10\n")
        assert broker.ask("/safellm/reload").json()["policy_problem"] == ""
        assert broker.ask(CHAT, headers=headers, body=body()).headers["x-safellm-reason"] == "shape.limit"
        assert sum(1 for _ in stream) > 2000
    file.write_text("[limits]\nrequest_bites = 10\n")
    assert broker.ask(CHAT, headers=headers, body=body()).headers["x-safellm-reason"] == "shape.limit"
    assert "request_bites" in broker.ask("/safellm/status").json()["policy_problem"]
    file.write_text("")
    assert broker.ask(CHAT, headers=headers, body=body()).status_code == 200


def test_many_streams_at_once(broker, broker_grant, broker_records, provider):
    """None is lost, none is mixed up."""
    provider.reply_with(lambda seen: Reply(text=f"answer {seen.json['messages'][0]['content']} " * 5))
    grant = broker_grant()

    async def run() -> list[str]:
        async with safellm.AsyncOpenAI(base_url=provider.base_url, api_key=grant.text()) as one:

            async def single(number: int) -> str:
                made = await ask(one, stream=True, messages=[{"role": "user", "content": f"no {number}"}])
                return "".join([part.choices[0].delta.content or "" async for part in made if part.choices])

            return await asyncio.gather(*(single(number) for number in range(60)))

    assert asyncio.run(run()) == [f"answer no {number} " * 5 for number in range(60)]
    until(lambda: len(broker_records("call.outcome")) == 60)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01", b"GET /", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b"x" * 200_000]
)
def test_what_is_no_request_ends_its_connection_only(broker, broker_grant, junk):
    """The broker goes on."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(broker.path))
        raw.settimeout(10)
        with suppress(ConnectionError):
            raw.sendall(junk)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65_536):
                pass
    assert broker.ask(CHAT, headers=bearer(broker_grant()), body=body()).status_code == 200


def test_the_other_sdks_go_through_the_broker(broker, broker_grant, provider):
    """Each with its own errors."""
    anthropic = pytest.importorskip("anthropic")
    pytest.importorskip("google.genai")
    from google.genai import types
    from safellm.google import genai

    claude = {"max_tokens": 50, "messages": HELLO, "model": "claude-opus-4-8"}
    made = broker_grant(key="anthropic", model=["claude-opus-*"])
    with safellm.Anthropic(base_url=provider.origin, api_key=made.text(), max_retries=0) as one:
        assert one.messages.create(**claude)
        with one.messages.stream(**claude) as stream:
            assert stream.get_final_text()
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            one.messages.create(**{**claude, "model": "other"})
        assert isinstance(caught.value, Refused)
    made = broker_grant(key="google", model=["gemini-2.5-flash"])
    with genai.Client(api_key=made.text(), http_options=types.HttpOptions(base_url=provider.origin)) as one:
        assert one.models.generate_content(model="gemini-2.5-flash", contents="hello").text
        assert [*one.models.generate_content_stream(model="gemini-2.5-flash", contents="hello")]
        with pytest.raises(Refused, match="model"):
            one.models.generate_content(model="gemini-2.5-pro", contents="hello")
    assert len(provider.requests) == 4


def test_the_older_google_sdk_can_not(broker, broker_grant, provider):
    """It speaks another library: said, not sent past the broker."""
    pytest.importorskip("google.generativeai")
    import safellm.google.generativeai as genai

    genai.configure(api_key=broker_grant(key="google").text(), client_options={"api_endpoint": provider.origin})
    with pytest.raises(ConfigurationError, match="requests"):
        genai.GenerativeModel("gemini-2.5-flash").generate_content("hello")
    assert provider.requests == []


def test_the_command_line_asks_and_stops(broker, start):
    """Status, a second broker in its place, stop; then there is none."""
    from typer.testing import CliRunner

    from safellm.cli.app import app

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["broker", *words, "--socket", str(broker.path)])

    assert json.loads(run("status", "--json").stdout)["pid"] == os.getpid()
    with pytest.raises(ConfigurationError, match="runs there already"):
        start()
    assert run("stop").exit_code == 0
    broker._thread.join(20)
    assert not broker.path.exists()
    assert run("status").exit_code == 1
    assert run("stop").exit_code == 1


def test_a_socket_of_a_killed_broker_is_no_obstacle(start, broker_home):
    """A socket on which nobody listens is replaced; anything else is left alone."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(broker_home / "s"))
    assert start().ask("/safellm/status").status_code == 200


def test_a_file_in_the_place_of_the_socket_is_left_alone(start, broker_home):
    """It may be somebody's."""
    (broker_home / "s").write_text("mine")
    with pytest.raises(ConfigurationError, match="Something else"):
        start()
    assert (broker_home / "s").read_text() == "mine"


def test_the_socket_is_the_user_s_alone(broker):
    """From its first moment: mode 0600."""
    assert broker.path.stat().st_mode & 0o777 == 0o600


def test_without_unix_sockets_there_is_loopback_with_a_grant(
    broker_environ, broker_home, broker_grant, provider, monkeypatch
):
    """As on Windows: the port is chosen by the system, every call needs a grant, and nobody asks the broker for its status."""
    import httpx

    from safellm.broker import serve as serving

    monkeypatch.setattr(serving, "HAS_SOCKETS", False)

    async def run() -> list[int]:
        ready: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        options = serving.Options(path=broker_home / "s")
        task = asyncio.create_task(serving.serve(options, broker_environ, ready=ready.set_result, hardened=[]))
        (address,) = await ready
        assert address.startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=address) as http:
            answers = [
                await http.post(CHAT, content=body(), headers=bearer(broker_grant())),
                await http.post(CHAT, content=body()),
                await http.get("/safellm/status"),
            ]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return [one.status_code for one in answers]

    assert asyncio.run(run()) == [200, 403, 404]
    assert len(provider.requests) == 1
    assert not (broker_home / "s").exists()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_request_with_a_body_switches_to_no_other_protocol(broker, broker_grant, provider, protocol):
    """Some clients offer HTTP/2 each time: they get their answer over HTTP."""
    headers = {**bearer(broker_grant()), "connection": "upgrade", "upgrade": protocol}
    assert broker.ask(CHAT, headers=headers, body=body()).status_code == 200
    assert "upgrade" not in provider.requests[0].headers
