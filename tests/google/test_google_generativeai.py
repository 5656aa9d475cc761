"""The older SDK, over REST through the shell for `requests`: each of its doors."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import warnings

import pytest

import safellm
from safellm.testing.provider import LoopbackProvider
from safellm.testing.replies import Reply, ToolCall

genai = pytest.importorskip("safellm.google.generativeai", exc_type=safellm.ConfigurationError)

MAIL = "alice@example.com"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _forgotten():
    yield
    from safellm_google_generativeai.manager import MANAGER

    for client in MANAGER.clients.values():
        getattr(client, "_client", client)._transport._session.close()
    MANAGER.client_config, MANAGER.clients = {}, {}


@pytest.fixture
def configured(provider):
    genai.configure(api_key="given", client_options={"api_endpoint": provider.origin})
    return provider


def ask(model, text, *, stream=False, is_async=False, **options):
    if not is_async:
        answer = model.generate_content(text, stream=stream, **options)
        return "".join(chunk.text for chunk in answer) if stream else answer.text

    async def main():
        answer = await model.generate_content_async(text, stream=stream, **options)
        return "".join([chunk.text async for chunk in answer]) if stream else answer.text

    return asyncio.run(main())


def nothing_leaked(provider):
    assert provider.requests
    for one in provider.requests:
        assert MAIL.encode() not in one.body
        assert MAIL.encode() not in one.head


@FACES
@STREAMED
def test_value_is_hidden_and_comes_back(configured, stream, is_async):
    """The provider sees a placeholder, the program its own text."""
    model = genai.GenerativeModel("gemini-1.5-flash", system_instruction=f"for {MAIL}")
    assert ask(model, f"mail {MAIL}", stream=stream, is_async=is_async) == f'You wrote: "mail {MAIL}"'
    nothing_leaked(configured)


@FACES
@STREAMED
def test_answers_tell_their_call(configured, stream, is_async):
    """`response.safellm` on answers, on a stream's whole and on each chunk; without a trace on what they hold."""
    model = genai.GenerativeModel("gemini-1.5-flash")

    async def ask_async(text):
        answer = await model.generate_content_async(text, stream=stream)
        return answer, [one async for one in answer]

    def ask_sync(text):
        answer = model.generate_content(text, stream=stream)
        return answer, list(answer)

    calls = set()
    for text, hidden, code in ((f"I am {MAIL}", {"EMAIL": 1}, ""), ("hi", {}, "```python\nimport made_up_thing\n```")):
        configured.reply_with(code) if code else configured.reply_with()
        answer, chunks = asyncio.run(ask_async(text)) if is_async else ask_sync(text)
        told = answer.safellm
        assert (told.recorded, dict(told.hidden), told.restored) == (True, hidden, len(hidden))
        assert told.unknown_packages == (("made_up_thing",) if code else ())
        assert {one.safellm.call_id for one in chunks} == {told.call_id}
        assert "safellm" not in str(answer.to_dict())
        calls.add(told.call_id)
    assert len(calls) == 2


@FACES
def test_chat_sessions(configured, is_async):
    """Turns keep their placeholders."""
    chat = genai.GenerativeModel("gemini-1.5-flash").start_chat()
    for text in (f"I am {MAIL}", f"still {MAIL} here"):
        answer = asyncio.run(chat.send_message_async(text)) if is_async else chat.send_message(text)
        assert MAIL in answer.text
    nothing_leaked(configured)
    assert len(configured.requests[-1].json["contents"]) == 3


@FACES
def test_embeddings_and_counting(configured, is_async):
    """One text, several texts, and the count of tokens."""
    model = genai.GenerativeModel("gemini-1.5-flash")
    if is_async:
        asyncio.run(genai.embed_content_async(model="models/e", content=[MAIL, "b"]))
        asyncio.run(model.count_tokens_async(MAIL))
    else:
        assert genai.embed_content(model="models/e", content=MAIL)["embedding"]
        genai.embed_content(model="models/e", content=[MAIL, "b"], title=None)
        model.count_tokens(MAIL)
    nothing_leaked(configured)


def test_tools_keep_placeholders(configured):
    """Arguments of undeclared tools get no real value; functions are called with what the model was shown."""
    called = []

    def send(to: str) -> str:
        called.append(to)
        return f"sent to {MAIL}"

    def reply(seen):
        if len(configured.requests) > 1:
            return "done"
        name = next(word for word in seen.json["contents"][0]["parts"][0]["text"].split() if "X-EMAIL" in word)
        return Reply(tool_calls=(ToolCall(name="send", arguments={"to": name}),))

    configured.reply_with(reply)
    chat = genai.GenerativeModel("gemini-1.5-flash", tools=[send]).start_chat(enable_automatic_function_calling=True)
    assert chat.send_message(f"write to {MAIL}").text == "done"
    assert called[0].startswith("X-EMAIL-")
    nothing_leaked(configured)


def test_files_go_through_the_session(configured, tmp_path):
    """With the key in a header, the text searched; the SDK's own way has the key in a URL."""
    path = tmp_path / f"{MAIL}.txt"
    path.write_text(f"mail {MAIL}")
    made = genai.upload_file(str(path))
    nothing_leaked(configured)
    assert all("key=" not in one.query for one in configured.requests)
    assert genai.get_file(made.name).name == made.name
    assert ask(genai.GenerativeModel("gemini-1.5-flash"), ["read", made])
    genai.delete_file(made.name)
    assert [one.headers["x-goog-api-key"] for one in configured.requests] == ["given"] * len(configured.requests)


def test_lists_and_caches(configured):
    """Models, files and caches; what a cache holds is searched."""
    import datetime as dt

    assert list(genai.list_models())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's way with protobuf
        genai.caching.CachedContent.create(
            model="models/gemini-1.5-flash", contents=[MAIL], ttl=dt.timedelta(minutes=5)
        )
    list(genai.list_files())
    nothing_leaked(configured)


@FACES
@STREAMED
@pytest.mark.parametrize(
    ("settings", "name", "reason"),
    [
        ({"redaction.types": {"EMAIL": "block"}}, "InvalidArgument", "redaction.blocked"),
        ({"budget.limits": [{"tokens": 1}]}, "ResourceExhausted", "budget.exceeded"),
    ],
)
def test_refusals_are_native_and_not_retried(provider, records, settings, name, reason, stream, is_async):
    """`google.api_core`'s errors and safellm's; one denial each."""
    from google.api_core import exceptions

    genai.configure(api_key="given", client_options={"api_endpoint": provider.origin}, safellm=settings)
    with pytest.raises(getattr(exceptions, name)) as caught:
        ask(genai.GenerativeModel("gemini-1.5-flash"), MAIL, stream=stream, is_async=is_async)
    assert isinstance(caught.value, safellm.Refused)
    assert caught.value.reason == reason
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (type(twin), str(twin), twin.reason) == (type(caught.value), str(caught.value), reason)
    assert provider.requests == []
    assert len([one for one in records() if one["event.name"] == "policy.deny"]) == 1


def test_grpc_is_never_used(provider):
    """Whatever transport is asked for: what no guard sees is not opened."""
    for transport in ("grpc", "grpc_asyncio", None):
        genai.configure(api_key="given", transport=transport, client_options={"api_endpoint": provider.origin})
        assert ask(genai.GenerativeModel("gemini-1.5-flash"), MAIL) == f'You wrote: "{MAIL}"'
    nothing_leaked(provider)


def test_plain_imports_in_the_same_process_are_guarded(configured):
    """The SDK has one configuration per process."""
    import google.generativeai as plain

    assert ask(plain.GenerativeModel("gemini-1.5-flash"), MAIL) == f'You wrote: "{MAIL}"'
    plain.configure(api_key="other", client_options={"api_endpoint": configured.origin})
    ask(plain.GenerativeModel("gemini-1.5-flash"), MAIL)
    nothing_leaked(configured)


def test_k_4_keys_are_managed(provider, env_key):
    """A key from a variable is put in by the transport; without `configure` too."""
    genai.configure(client_options={"api_endpoint": provider.origin})
    model = genai.GenerativeModel("gemini-1.5-flash")
    ask(model, "hi")
    assert provider.requests[-1].headers["x-goog-api-key"] == env_key
    from safellm_google_generativeai.manager import MANAGER

    assert MANAGER.client_config["client_options"].api_key.startswith("safellm-managed-")
    assert os.environ["GEMINI_API_KEY"] == env_key


def test_e_1_universe_of_a_variable_is_refused(monkeypatch, env_key):
    """A variable can't move calls to another domain."""
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "evil.example")
    genai.configure()
    with pytest.raises(safellm.ConfigurationError, match="environment"):
        genai.GenerativeModel("gemini-1.5-flash").generate_content("hi")


def test_e_1_call_for_another_origin_is_refused(configured):
    """The client's session goes to its own origin only."""
    from google.generativeai import client as sdk

    session = sdk.get_default_generative_client()._transport._session
    with LoopbackProvider() as other, pytest.raises(safellm.Refused):
        session.post(f"{other.origin}/v1beta/models/g:generateContent", json={})


def test_long_running_operations_pass_the_guard(provider, env_key, records):
    """The SDK asks for them with a session of its own: its key is managed, too, and each question is recorded."""
    genai.configure(client_options={"api_endpoint": provider.origin})
    from google.generativeai import client as sdk

    session = sdk.get_default_operations_client()._transport._session
    assert session.get(f"{provider.origin}/v1beta/tunedModels/x/operations/y").status_code == 200
    assert provider.requests[-1].headers["x-goog-api-key"] == env_key
    assert [one for one in records() if one["event.name"] == "call.outcome"]
    with LoopbackProvider() as other, pytest.raises(safellm.Refused):
        session.get(f"{other.origin}/v1beta/tunedModels/x/operations/y")
    session.close()


def test_note_about_the_successor_is_given_once():
    """One note, in a category of its own that a program can filter; the SDK's own is not repeated."""
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import safellm.google.generativeai as genai\n"
        "    import safellm.google.generativeai\n"
        "noted = [one for one in caught if issubclass(one.category, FutureWarning)]\n"
        "print(len(noted), noted[0].category is genai.UnmaintainedSDK, 'safellm.google import genai' in str(noted[0].message))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "True", "True"]


def test_public_names_are_the_sdk_s():
    """Types and helpers are the SDK's own objects, modules can be imported by name."""
    import google.generativeai as plain

    assert genai.GenerativeModel is plain.GenerativeModel
    assert genai.protos is plain.protos
    space: dict[str, object] = {}
    exec("from safellm.google.generativeai.types import HarmCategory\nimport safellm.google.generativeai.types", space)
    assert space["HarmCategory"] is plain.types.HarmCategory
    missing = [name for name in dir(plain) if not name.startswith("_") and not hasattr(genai, name)]
    assert missing == []
