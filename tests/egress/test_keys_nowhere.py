"""A managed key is nowhere in the process once a call is over, whatever became of it: each SDK, sync and async (K.4, K.5, R.10).

Each SDK runs in a process of its own, whose key comes by a variable that the policy has cleared. At the end everything that the
garbage collector knows is searched, and everything that any library logged at its most talkative.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from egress_support import ANSWER, answer, read_request

from safellm.testing.canary import sweep

CASES = ("success", "stream", "401", "500", "stall", "cut", "garbage", "refusal")
PROMPT = "what-the-program-says"
CHILD = r"""
import asyncio, gc, json, logging, sys, traceback

logging.basicConfig(level=logging.DEBUG, filename=sys.argv[3], format="%(name)s %(message)s %(args)r", force=True)
for name in ("openai", "anthropic", "google_genai", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "asyncio"):
    logging.getLogger(name).setLevel(logging.DEBUG)
if sys.argv[7:] == ["quiet below"]:  # the connections' own library: what it would log, it must be asked for
    for name in ("httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.INFO)
sdk, url, _, sayings = sys.argv[1:5]
cases = sayings.split(",")
reversed_key = sys.argv[5]  # the needle is made at the end
policy = {"redaction.types": {"EMAIL": "block"}, "keys.clear_environment": True}


def clients():
    if sdk == "openai":
        import safellm.openai as openai
        options = dict(base_url=url + "/v1", max_retries=0, timeout=1, safellm=policy)
        messages = lambda text: dict(model="gpt-4o", messages=[{"role": "user", "content": text}])
        call = lambda client, text, stream: client.chat.completions.create(**messages(text), stream=stream)
        return openai.OpenAI(**options), openai.AsyncOpenAI(**options), call
    if sdk == "anthropic":
        import safellm.anthropic as anthropic
        options = dict(base_url=url, max_retries=0, timeout=1, safellm=policy)
        messages = lambda text: dict(model="m", max_tokens=9, messages=[{"role": "user", "content": text}])
        call = lambda client, text, stream: client.messages.create(**messages(text), stream=stream)
        return anthropic.Anthropic(**options), anthropic.AsyncAnthropic(**options), call
    if sdk == "generativeai":
        import safellm.google.generativeai as older
        from google.api_core import retry
        older.configure(client_options={"api_endpoint": url}, safellm=policy)
        def call(model, text, stream):
            once = {"timeout": 1, "retry": retry.Retry(predicate=lambda _: False)}
            ask = model.generate_content if model is made[0] else model.generate_content_async
            return ask(text, stream=stream, request_options=once)
        made = older.GenerativeModel("gemini"), older.GenerativeModel("gemini")
        return *made, call
    from safellm.google import genai
    def call(client, text, stream):
        models = client.models
        return (models.generate_content_stream if stream else models.generate_content)(model="gemini", contents=text)
    made = genai.Client(http_options={"base_url": url, "timeout": 1000}, safellm=policy)
    return made, made.aio, call


def sync_case(client, call, case, text):
    found = call(client, text, case == "stream")
    return [*found] if case == "stream" else found


async def async_case(client, call, case, text):
    found = await call(client, text, case == "stream")
    return [one async for one in found] if case == "stream" else found


async def async_cases(client, call):
    kept = []
    for case in cases:
        try:
            kept.append(await async_case(client, call, case, f"case={case}; {sys.argv[6]} " + "a@b.com" * (case == "refusal")))
        except Exception as error:
            kept.append(error)
    return kept


def main():
    kept, (client, async_client, call) = [], clients()
    for case in cases:
        try:
            kept.append(sync_case(client, call, case, f"case={case}; {sys.argv[6]} " + "a@b.com" * (case == "refusal")))
        except Exception as error:
            kept.append(error)
    kept.append(client)
    kept += asyncio.run(async_cases(async_client, call))
    return kept


def holders(needle):
    raw, found = needle.encode(), []
    def holds(thing, depth=0):
        if type(thing) is str:
            return needle in thing and thing is not needle
        if type(thing) in (bytes, bytearray):
            return raw in thing and thing is not raw
        if type(thing) in (dict, tuple, list) and not gc.is_tracked(thing) and depth < 5:
            inner = [*thing, *thing.values()] if type(thing) is dict else thing
            return any(holds(one, depth + 1) for one in inner)
        return False
    for thing in gc.get_objects():
        if type(thing).__name__ != "Secret" and type(thing).__name__ != "frame":
            if any(holds(one) for one in gc.get_referents(thing)):
                kinds = [type(one).__name__ for one in gc.get_referrers(thing)][:4]
                found.append(f"{type(thing).__module__}.{type(thing).__qualname__} of {kinds}")
    return found


kept = main()
gc.collect()
texts = [repr(one) for one in kept] + [str(one) for one in kept]
for one in kept:
    if isinstance(one, BaseException):
        texts += traceback.TracebackException.from_exception(one, capture_locals=True).format()
import os, subprocess
child = subprocess.run([sys.executable, "-c", "import os; print(dict(os.environ))"], capture_output=True, text=True).stdout
needle = reversed_key[::-1]
print(json.dumps({
    "kinds": [type(one).__name__ for one in kept],
    "refused": [getattr(one, "reason", None) for one in kept if isinstance(one, BaseException)],
    "shown": [text[:60] for text in texts if needle in text],
    "held": holders(needle),
    "environment": [name for name, value in os.environ.items() if needle in value],
    "child": needle in child,
}))
"""
KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GEMINI_API_KEY",
    "generativeai": "GEMINI_API_KEY",
}
MODULES = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google.genai",
    "generativeai": "google.generativeai",
}


def body_of(sdk, *, stream):
    """Return a whole answer, or a stream, as the provider writes it."""
    if sdk == "openai":
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunk |= {"choices": [{"index": 0, "delta": {"content": "hi"}}]}
        return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode() if stream else ANSWER
    if sdk == "anthropic":
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
        message |= {"stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        if not stream:
            return json.dumps(message | {"content": [{"type": "text", "text": "hi"}]}).encode()
        events = [{"type": "message_start", "message": message}, {"type": "message_stop"}]
        return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)
    one = json.dumps({"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}}]}).encode()
    if sdk == "generativeai":
        return b"[" + one + b"]" if stream else one
    return b"data: " + one + b"\r\n\r\n" if stream else one


@pytest.mark.parametrize(("sdk", "below"), [*((sdk, "talkative") for sdk in KEYS), ("openai", "quiet below")])
def test_k_4_key_is_nowhere_after_any_call(sdk, below, raw, tmp_path, home):
    """Success, stream, 401, 500, timeout, broken connection, garbage, refusal: the provider got the key, nothing else has it."""
    if importlib.util.find_spec(MODULES[sdk].partition(".")[0]) is None:
        pytest.skip(f"{sdk} is not installed")
    key = "sk-" + "A1b2C3d4E5" * 4
    seen = []

    def serve(connection):
        while request := read_request(connection):
            seen.append(request)
            case = request.partition(b"case=")[2].partition(b";")[0].decode()
            if case == "stall":
                raw.over.wait(3)
                return
            if case == "cut":
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{")
                return
            if case in ("401", "500"):
                body = b'{"error":{"message":"no","type":"x","code":%s}}' % case.encode()
                connection.sendall(
                    b"HTTP/1.1 %s Oh\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (case.encode(), len(body), body)
                )
                continue
            data = b'{"not json' if case == "garbage" else body_of(sdk, stream=case == "stream")
            sent = answer(data)
            if case == "stream":
                sent = sent.replace(b"application/json", b"text/event-stream")
            connection.sendall(sent)

    url = f"http://127.0.0.1:{raw(serve)}"
    log = tmp_path / "debug.log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SSL", "COV"))}
    environ |= {KEYS[sdk]: key, "OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug", "SAFELLM_HOME": str(home)}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        CHILD,
        sdk,
        url,
        str(log),
        ",".join(CASES),
        key[::-1],
        PROMPT,
        below,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environ, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # The calls were what the test says: each but the last reached the provider, with the key.
    arrived = Counter(one.partition(b"case=")[2].partition(b";")[0].decode() for one in seen)
    if sdk == "generativeai":
        arrived["401"] = min(
            arrived["401"], 2
        )  # its session tries that again with other credentials, which are the same
    assert arrived == dict.fromkeys(CASES[:-1], 2)
    assert all(key.encode() in one for one in seen)
    assert found["refused"].count("redaction.blocked") == 2, found
    assert len(found["refused"]) == 12, found
    assert found["shown"] == []
    assert not found["held"], "\n".join(found["held"])
    assert found["environment"] == []
    assert not found["child"]
    assert log.stat().st_size > 1000
    assert sweep(key, paths=[log, home], texts=[done.stderr, done.stdout]) == []
    assert PROMPT not in log.read_text()
    assert PROMPT not in done.stderr
