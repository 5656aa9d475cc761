"""No record, no call; and no content in any record (L.5, L.6, P8)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

import openai
import safellm
from safellm.stores.registered import REGISTER
from safellm.testing.canary import make_canary, sweep
from safellm.testing.http_server import LoopbackServer
from safellm.testing.replies import Reply, ToolCall

posix = pytest.mark.skipif(os.name != "posix", reason="modes, limits and users of POSIX systems")

# Warmed up with a folder of its own, because a user without rights may be unable to read this installation. Then, as such
# a user: first with everything in order, then with `spoil` done to the folder.
CHILD = """
import os, resource, signal, sys
from pathlib import Path
import openai
import safellm
from safellm.stores.journal.open import JOURNALS
from safellm.stores.ledger.choose import LEDGERS
base_url, home, spoil = sys.argv[1:4]
def ask(client):
    try:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
        print("answered")
    except openai.APIStatusError as error:
        print(isinstance(error, safellm.GuardFailure), error.reason, error.guard, bool(error.remedy))
def make():
    return safellm.OpenAI(base_url=base_url, api_key="x", max_retries=3)
os.environ["SAFELLM_HOME"] = home + " warm"
ask(make())
os.environ["SAFELLM_HOME"] = home
if os.getuid() == 0 and spoil != "disk is full":
    os.setgid(65534); os.setuid(65534)
home = Path(home)
if spoil == "new home is read-only":
    home.parent.chmod(0o500)
    try:
        ask(make())
    except safellm.SafeLLMError as error:
        print("no client", bool(error.remedy))
    home.parent.chmod(0o700)
    sys.exit()
client = make()
ask(client)
if spoil == "audit folder is read-only":
    for file in (home / "audit").iterdir(): file.chmod(0o400)
    (home / "audit").chmod(0o500)
    client = None
    JOURNALS.clear()
    client = make()
elif spoil == "audit folder is gone":
    (home / "audit").rename(home / "moved")
    (home / "audit").write_text("a file in its place")
elif spoil == "ledger is read-only":
    for file in home.glob("ledger*"): file.chmod(0o400)
    home.chmod(0o500)
    LEDGERS.clear()
    client = make()
elif spoil == "disk is full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = max(file.stat().st_size for file in (home / "audit").glob("trail-*.jsonl"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
ask(client)
home.chmod(0o700)
"""


@pytest.fixture
def open_folder():
    """A folder that a user without rights may enter; pytest's own is closed."""
    folder = Path(tempfile.mkdtemp(prefix="safellm-audit-"))
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    yield folder
    shutil.rmtree(folder)


@posix
@pytest.mark.parametrize(
    ("spoil", "first", "then"),
    [
        ("new home is read-only", None, "no client True"),
        ("audit folder is read-only", "answered", "True audit.unavailable audit True"),
        ("audit folder is gone", "answered", "True audit.unavailable audit True"),
        ("ledger is read-only", "answered", "True budget.unavailable budget True"),
        ("disk is full", "answered", None),
    ],
)
def test_l_5_call_that_can_not_be_recorded_is_not_sent(python, provider, open_folder, spoil, first, then):
    """P8: the provider sees nothing of it, the error names guard and remedy; even with retries."""
    home = open_folder / "home"
    done = python(
        CHILD, provider.base_url, home, spoil, env={**os.environ, "SAFELLM_HOME": str(home), "HOME": str(open_folder)}
    )
    lines = done.stdout.splitlines()
    assert lines[:-1] == ["answered", *([first] if first else [])]
    if then is not None:
        assert lines[-1] == then
    else:  # ledger or trail: whichever meets the full disk first
        assert lines[-1] in {"True audit.unavailable audit True", "True budget.unavailable budget True"}
    assert len(provider.requests) == len(lines[:-1])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("store", ["audit", "ledger"])
def test_l_5_answer_whose_outcome_can_not_be_kept_is_an_error(face, provider, home, monkeypatch, stream, store):
    """The trail or the ledger breaks while the provider answers: the program is told, and told that the call was sent."""
    from safellm.transports.http import guard_of

    client = face.client(provider, max_retries=3)
    driver = guard_of(client._client)

    def answer(_):
        if store == "audit":
            (home / "audit").rename(home / "moved")
            (home / "audit").write_text("a file in its place")
        else:
            monkeypatch.setattr(driver, "ledger", None)  # as if it had gone
        return "the answer"

    provider.reply_with(answer)
    with pytest.raises(safellm.GuardFailure) as caught:
        # Not chat: after its [DONE] the SDK swallows what happens at the end of the body.
        face.ask(client, api="responses", stream=stream)
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.guard == ("audit" if store == "audit" else "budget")
    assert caught.value.sent
    assert len(provider.requests) == 1


def test_l_5_best_effort_goes_on_without_a_trail(face, provider, home):
    """The mode that says so sends without a record."""
    home.mkdir(exist_ok=True)
    (home / "audit").write_text("a file in its place")
    client = face.client(provider, safellm={"audit.mode": "best_effort"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may warn
        assert face.ask(client) == 'You wrote: "hello"'
    assert len(provider.requests) == 1


@pytest.mark.parametrize(("value", "answers"), [("required", False), ("best_effort", True), ("off", True)])
def test_l_5_the_variable_decides_what_a_lost_trail_costs(face, provider, home, monkeypatch, capsys, value, answers):
    """`SAFELLM_AUDIT`: refuse, tell once and go on, or keep no trail at all."""
    home.mkdir(exist_ok=True)
    (home / "audit").write_text("a file in its place")
    monkeypatch.setenv("SAFELLM_AUDIT", value)
    client = face.client(provider)
    if answers:
        face.ask(client)
    else:
        with pytest.raises(safellm.GuardFailure, match="audit trail"):
            face.ask(client)
    assert len(provider.requests) == answers
    assert ("unrecorded" in capsys.readouterr().err) == (value == "best_effort")
    assert (home / "audit").read_text() == "a file in its place"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_p_8_guard_that_breaks_stops_the_call(face, provider, records, monkeypatch, stream):
    """Whatever goes wrong in a guard: nothing is sent, the error names it and holds no word of the prompt."""
    from safellm._core import exchange
    from safellm._core.guards.order import Stage

    def broken(call):
        raise RuntimeError(call.fields[0].text)

    secret = make_canary()
    monkeypatch.setattr(exchange, "REQUEST", (*exchange.REQUEST, Stage("broken", broken)))
    with pytest.raises(safellm.GuardFailure) as caught:
        face.ask(face.client(provider, max_retries=3), secret, stream=stream)
    assert "broken" in str(caught.value)
    assert sweep(secret, texts=[str(caught.value), repr(caught.value), repr(caught.value.__context__)]) == []
    assert provider.requests == []
    assert [one["reason"] for one in records()] == ["guard.error"]


def secret_like():
    """Return a value that the scanner takes for a secret, unknown to anything else."""
    return "sk-" + "proj-" + make_canary() + make_canary()


def test_l_6_no_content_in_any_file(face, provider, home, debug_logs, monkeypatch):
    """Values in every field of requests and answers: no file under the home folder, no log of ours and no sent byte has them."""
    plain, secret, mail = make_canary(), secret_like(), f"{make_canary()}@example.com".lower()
    monkeypatch.setattr(REGISTER, "secrets", None)
    client = face.client(provider, safellm={"tool_calls.undeclared": "allow"})
    everywhere = f"{plain} {secret} {mail}\n\x1b[31m\u200b"
    tool = {
        "type": "function",
        "function": {
            "name": "t",
            "description": everywhere,
            "parameters": {"type": "object", "properties": {"x": {"type": "string", "description": everywhere}}},
        },
    }
    provider.reply_with(
        lambda _: Reply(
            text=f"answer {plain}", refusal=f"no {plain}", tool_calls=(ToolCall(name=plain, arguments={"a": plain}),)
        )
    )
    for stream in (False, True):
        face.ask(client, everywhere, stream=stream, tools=[tool], user=mail, metadata={"k": everywhere})
        face.ask(client, everywhere, api="responses", stream=stream, instructions=everywhere)
    face.run(client.embeddings.create(model="m", input=[everywhere]))
    face.run(client.files.create(file=("note.txt", everywhere.encode()), purpose="assistants"))
    for case in ({"model": secret, "messages": []}, {"model": "m", "messages": [], "stop": [secret]}):
        face.run(client.chat.completions.create(**case))
    for attempt in (
        lambda: client.files.retrieve(secret),
        lambda: client.models.list(extra_query={"k": secret}),
        lambda: client.post(f"https://{plain.lower()}.example/x", cast_to=object, body={"a": plain}),
        lambda: client.chat.completions.create(model="m", messages=[], extra_headers={"X-Own": secret, "Host": "x"}),
    ):
        with pytest.raises(openai.APIStatusError):
            face.run(attempt())
    provider.reply_with(Reply(status=400, text=f"echo of {plain} {secret}"))
    with pytest.raises(openai.BadRequestError):
        face.ask(client, everywhere)
    ours = [line for line in debug_logs if line.startswith("safellm")]
    assert ours
    for value in (secret, mail):
        bodies = [request.body for request in provider.requests]
        assert sweep(value, paths=[home], texts=[*bodies, *ours]) == []
    # A host name that a program tries is recorded on purpose: it is where the call would have gone.
    texts = [line.replace(f"{plain.lower()}.example", "") for line in read_lines(home)]
    assert sweep(plain, texts=texts) == []


def read_lines(home):
    return [file.read_bytes().decode("utf-8", "replace") for file in sorted(home.rglob("*")) if file.is_file()]


def test_l_6_hostile_names_stay_inside_their_record(face, provider, records):
    """Line ends and control characters in a model's name or an answer's id don't make new lines."""
    provider.reply_with(lambda _: "x")
    client = face.client(provider)
    model = 'gpt"\n{"event.name":"forged"}\r\u2028\x1b[2J'
    face.run(client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}]))
    assert {one["event.name"] for one in records()} == {"call.intent", "call.outcome"}
    assert {one["gen_ai.request.model"] for one in records()} == {model}


def test_records_name_what_was_hidden_and_cost(face, provider, records):
    """One record before and one after, with OpenTelemetry's names."""
    face.ask(face.client(provider), "mail alice@example.com, bob@example.com", max_tokens=50)
    intent, outcome = records()
    assert intent["safellm.redaction.counts"] == {"EMAIL": 2}
    assert intent["decision"] == "modify"
    assert intent["gen_ai.request.model"] == "gpt-4o"
    assert intent["gen_ai.request.max_tokens"] == 50
    assert intent["gen_ai.operation.name"] == "chat"
    assert intent["server.port"] == provider.port
    assert outcome["event.parent"] == intent["event.id"]
    assert outcome["gen_ai.response.finish_reasons"] == ["stop"]
    assert outcome["safellm.output.actions"] == {"restored": 2}
    assert outcome["gen_ai.usage.input_tokens"] > 0
    assert set(outcome["safellm.budget.charged"]) == {"input_tokens", "output_tokens", "micro_usd"}


class OneAnswer(LoopbackServer):
    """Answers everything with one body."""

    def serve(self, request, connection):
        from safellm.testing.endpoints import ok

        body = {"id": "x\n" + "y" * 9000, "object": "chat.completion", "created": 1, "model": "m" * 9000, "choices": []}
        connection.send_answer(ok(body | {"usage": {"prompt_tokens": 10**400, "completion_tokens": 1.5}}))
        return True


def test_l_6_absurd_values_of_an_answer_keep_the_trail_sound(face, outcome):
    """Huge ids, models and numbers of a hostile provider: the trail verifies and stays small."""
    with OneAnswer() as server:
        client = face.client(base_url=f"{server.origin}/v1", api_key="x")
        try:
            face.run(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}]))
        except openai.APIStatusError as error:
            assert isinstance(error, safellm.Refused)
    assert len(json.dumps(outcome())) < 40_000
    assert sys.platform  # the same on every system
