"""Events reach whoever asked for them, and no receiver delays or fails a call."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import safellm
from safellm.errors import ConfigurationError
from safellm.stores.journal.background import Background, Posted
from safellm.testing.provider import LoopbackProvider


def eventually(check: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():  # type: ignore[operator]
            return True
        time.sleep(0.005)
    return False


class Receiver(http.server.BaseHTTPRequestHandler):
    got: list[dict[str, object]]
    answer = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.extend(body["events"])
        self.send_response(self.answer)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    """A server that keeps what is posted."""
    handler = type("Handler", (Receiver,), {"got": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_function_gets_every_event_until_it_is_taken_out(face, provider) -> None:
    """In order, as dicts of its own, after they are recorded."""
    seen: list[dict[str, object]] = []
    remove = safellm.on_event(seen.append)
    client = face.client(provider)
    face.ask(client)
    assert eventually(lambda: len(seen) == 2)
    assert [one["event.name"] for one in seen] == ["call.intent", "call.outcome"]
    assert seen[1]["event.parent"] == seen[0]["event.id"]
    assert [one["seq"] for one in seen] == [1, 2]
    remove()
    face.ask(client)
    time.sleep(0.05)
    assert len(seen) == 2


def test_slow_and_broken_functions_cost_no_call(face, provider, capfd) -> None:
    """One hangs, one raises: calls go on at once, and the fault is told once."""
    stop = threading.Event()
    removes = [safellm.on_event(lambda _: stop.wait()), safellm.on_event(lambda _: 1 / 0)]
    client = face.client(provider)
    for _ in range(3):
        assert face.ask(client)
    told: list[str] = []

    def was_told() -> bool:
        told.append(capfd.readouterr().err)
        return "ZeroDivisionError" in "".join(told)

    assert eventually(was_told)
    stop.set()
    for remove in removes:
        remove()
    time.sleep(0.1)
    assert ("".join(told) + capfd.readouterr().err).count("ZeroDivisionError") == 1


def test_full_queue_loses_events_and_says_so(capfd) -> None:
    """Bounded memory, whatever the receiver does."""
    stop, got = threading.Event(), []

    def deliver(some: list[Posted]) -> None:
        stop.wait()
        got.extend(some)

    background = Background(deliver, name="it", most=10)
    for number in range(50):
        background.post(Posted("test", {"n": number}, 0))
    assert capfd.readouterr().err.count("too slow") == 1
    stop.set()
    assert eventually(lambda: len(got) >= 10)
    assert len(got) <= 12


def test_webhook_gets_events_as_json(face, provider, receiver, monkeypatch) -> None:
    """In batches, at the path that the policy names."""
    monkeypatch.setenv("SAFELLM_AUDIT_WEBHOOK", f"http://127.0.0.1:{receiver.server_port}/events?a=1")
    face.ask(face.client(provider))
    assert eventually(lambda: len(receiver.RequestHandlerClass.got) == 2)
    assert {one["event.name"] for one in receiver.RequestHandlerClass.got} == {"call.intent", "call.outcome"}


def test_e_2_webhook_follows_no_redirect_and_its_failure_is_told_once(
    face, provider, receiver, monkeypatch, capfd
) -> None:
    """A server that answers 307 gets nothing twice, and calls go on."""
    receiver.RequestHandlerClass.answer = 307
    monkeypatch.setenv("SAFELLM_AUDIT_WEBHOOK", f"http://127.0.0.1:{receiver.server_port}/events")
    client = face.client(provider)
    for _ in range(3):
        assert face.ask(client)
    assert eventually(lambda: len(receiver.RequestHandlerClass.got) == 6)
    time.sleep(0.1)
    assert len(receiver.RequestHandlerClass.got) == 6
    assert capfd.readouterr().err.count("the webhook at") == 1


def test_e_1_webhook_of_another_origin_is_refused(provider, monkeypatch) -> None:
    """Only origins of the policy get events."""
    monkeypatch.setenv("SAFELLM_AUDIT_WEBHOOK", "https://collector.example/events")
    with pytest.raises(ConfigurationError, match="egress.origins"):
        safellm.OpenAI(base_url=provider.base_url, api_key="x")
    monkeypatch.setenv("SAFELLM_EGRESS_ORIGINS", "https://collector.example")
    safellm.OpenAI(base_url=provider.base_url, api_key="x").close()


def test_json_on_standard_error_is_one_object_a_line(face, provider, monkeypatch, capfd) -> None:
    """What a log collector reads."""
    monkeypatch.setenv("SAFELLM_AUDIT_CONSOLE", "true")
    monkeypatch.setenv("SAFELLM_AUDIT_CONSOLE_FORMAT", "json")
    face.ask(face.client(provider), "hello")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [one["event.name"] for one in lines] == ["call.intent", "call.outcome"]


OTEL = """
import sys, time
from opentelemetry import trace, _logs
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk._logs import LoggerProvider
import opentelemetry.sdk._logs.export as logs_export
import safellm, openai
spans = InMemorySpanExporter()
provider = TracerProvider(); provider.add_span_processor(SimpleSpanProcessor(spans)); trace.set_tracer_provider(provider)
Memory = getattr(logs_export, "InMemoryLogRecordExporter", None) or logs_export.InMemoryLogExporter
Simple = logs_export.SimpleLogRecordProcessor
logs = Memory(); logging = LoggerProvider(); logging.add_log_record_processor(Simple(logs)); _logs.set_logger_provider(logging)
client = safellm.OpenAI(base_url=sys.argv[1], api_key="x", max_retries=0)
def ask(text):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
with trace.get_tracer("program").start_as_current_span("work") as work:
    ask("hello")
    try:
        ask("x" * 3000)
    except openai.APIStatusError:
        pass
end = time.monotonic() + 30
while len(spans.get_finished_spans()) < 3 and time.monotonic() < end: time.sleep(0.01)
made = {one.name + "/" + one.status.status_code.name: one for one in spans.get_finished_spans()}
call, refused = made["chat gpt-4o/UNSET"], made["chat/ERROR"] if "chat/ERROR" in made else made["chat gpt-4o/ERROR"]
mine = made["work/UNSET"]
assert call.context.trace_id == mine.context.trace_id and call.parent.span_id == mine.context.span_id
assert refused.parent.span_id == mine.context.span_id
assert mine.start_time <= call.start_time < call.end_time <= mine.end_time
assert call.attributes["gen_ai.usage.input_tokens"] > 0 and call.attributes["gen_ai.provider.name"]
assert refused.attributes["error.type"] == "shape.limit", dict(refused.attributes)
names = [(one.log_record if hasattr(one, "log_record") else one).event_name for one in logs.get_finished_logs()]
assert names == ["call.intent", "call.outcome", "policy.deny"], names
print("fine")
"""


def test_guarded_call_is_a_span_of_the_program_s_own_trace(provider: LoopbackProvider, home, monkeypatch) -> None:
    """A child of the span that was current, with the names of the GenAI conventions; a refusal is an error; events are logs."""
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("SAFELLM_AUDIT_OTEL", "both")
    monkeypatch.setenv("SAFELLM_LIMITS_REQUEST_BYTES", "2000")
    done = subprocess.run(
        [sys.executable, "-c", OTEL, provider.base_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "fine\n", done.stderr


def test_hanging_receiver_does_not_keep_the_program_from_ending(provider: LoopbackProvider, home) -> None:
    """The end waits for it a moment, no longer."""
    code = """
import sys, threading, safellm
safellm.on_event(lambda _: threading.Event().wait())
client = safellm.OpenAI(base_url=sys.argv[1], api_key="x")
client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, provider.base_url], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
