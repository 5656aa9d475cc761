"""Who is told of budgets and usage: a webhook, metrics, and records that name users by pseudonyms."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import getpass
import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

import openai
import safellm
from safellm._core.who import pseudonym
from safellm.client import _install_key
from safellm.errors import ConfigurationError
from safellm.stores.journal import metrics as journal_metrics


def eventually(check, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict]]]:
    """An address that keeps what is posted to it."""
    got: list[dict] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/budget", got
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("audit", ["required", "off"])
def test_webhook_of_the_budget_gets_warnings_alone(face, provider, receiver, audit) -> None:
    """Once for each account and window, after the call's hold, also where no trail is kept; nothing of other events."""
    address, got = receiver
    limits = [
        {"requests": 4, "window": "total", "warn_at": 0.5, "name": f"told-{audit}-{face.is_async}", "per": ["user"]}
    ]
    client = face.client(provider, safellm={"budget.limits": limits, "budget.webhook": address, "audit.mode": audit})
    with safellm.labels(user="jane@example.com"):
        for _ in range(3):
            face.ask(client)
    assert eventually(lambda: got)
    time.sleep(0.05)
    [warning] = got
    assert warning["event.name"] == "budget.warning"
    assert (warning["safellm.budget.used"], warning["safellm.budget.held"]) == (1, 1)
    assert "jane" not in json.dumps(warning)
    assert warning["safellm.budget.name"].startswith(f"told-{audit}-{face.is_async}|user=u-")


def test_webhook_of_the_budget_goes_only_to_allowed_origins(sync, provider, monkeypatch) -> None:
    """An origin that egress doesn't list is a mistake of the policy, found before any call."""
    monkeypatch.setenv("SAFELLM_BUDGET_WEBHOOK", "https://elsewhere.example/hook")
    with pytest.raises(ConfigurationError, match=r"not one of egress.origins"):
        sync.client(provider)
    monkeypatch.setenv("SAFELLM_EGRESS_ORIGINS", "https://elsewhere.example")
    assert sync.client(provider)


@pytest.mark.parametrize("kind", ["pseudonym", "plain", "off"])
def test_l_6_records_name_users_as_the_policy_says(sync, provider, records, home, kind) -> None:
    """Intent and outcome agree; the system's user where the program says none."""
    client = sync.client(provider, safellm={"audit.users": kind})
    sync.ask(client)
    with safellm.labels(user="u-17"):
        sync.ask(client)
    key = _install_key(home)
    names = [getpass.getuser(), "u-17"]
    wanted = {"plain": names, "pseudonym": [pseudonym(key, one) for one in names], "off": [None, None]}[kind]
    found = records()
    assert [one.get("user.id") for one in found] == [wanted[0], wanted[0], wanted[1], wanted[1]]
    assert all("safellm.labels" not in one for one in found)


def test_l_6_labels_are_recorded_and_what_is_personal_in_them_is_not(sync, provider, records, home) -> None:
    """A team's name is shown; an address, a secret and a registered value stand as pseudonyms, the same ones each time."""
    safellm.register_secret("the-hidden-project")
    client = sync.client(provider, safellm={"budget.labels": {"project": "search"}})
    said = {"team": "red", "customer": "jane@example.com", "job": "the-hidden-project", "project": "index"}
    for _ in range(2):
        with safellm.labels(**said):
            sync.ask(client)
    for one in records():
        key = _install_key(home)
        assert one["safellm.labels"] == {
            "team": "red",
            "project": "index",
            "customer": pseudonym(key, "jane@example.com"),
            "job": pseudonym(key, "the-hidden-project"),
        }


def test_pseudonyms_differ_between_installations() -> None:
    """Without the key of the installation a name can't be tried."""
    one, other = pseudonym(b"k" * 32, "jane"), pseudonym(b"l" * 32, "jane")
    assert one != other
    assert one == pseudonym(b"k" * 32, "jane") != pseudonym(b"k" * 32, "joan")


def read(port: int) -> str:
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()


def test_prometheus_reads_tokens_cost_refusals_and_what_is_left(face, provider, free_port) -> None:
    """One server of our own on loopback; the names are those of the GenAI conventions."""
    pytest.importorskip("opentelemetry.exporter.prometheus")
    limits = [
        {"requests": 3, "window": "total", "name": "m", "per": ["team"]},
        {"usd": 1, "window": "day", "name": "money"},
    ]
    client = face.client(provider, safellm={"metrics": f"prometheus:{free_port}", "budget.limits": limits})
    with safellm.labels(team="red"):
        for _ in range(3):
            face.ask(client, max_tokens=10)
        with pytest.raises(openai.RateLimitError):
            face.ask(client, max_tokens=10)
    assert eventually(lambda: "safellm_refusals" in read(free_port))
    lines = [line for line in read(free_port).splitlines() if not line.startswith("#")]

    def value(name: str, *parts: str) -> float:
        [found] = [line for line in lines if line.startswith(name) and all(part in line for part in parts)]
        return float(found.rpartition(" ")[2])

    assert value("gen_ai_client_token_usage_count", 'gen_ai_token_type="input"', 'gen_ai_request_model="gpt-4o"') == 3
    assert value("gen_ai_client_token_usage_sum", 'gen_ai_token_type="output"') > 0
    assert value("gen_ai_client_operation_duration_seconds_count") == 3
    assert 0 < value("gen_ai_client_operation_duration_seconds_sum") < 60
    assert value("safellm_requests_total", 'safellm_decision="allow"') == 3
    assert value("safellm_refusals_total", 'safellm_reason="budget.exceeded"', 'safellm_guard="budget"') == 1
    cost = value("safellm_cost")
    assert 0 < cost < 0.1
    assert value("safellm_budget_left", "m|team=red") == 0
    assert value("safellm_budget_limit", "m|team=red") == 3
    assert value("safellm_budget_left", "money", 'safellm_budget_unit="usd"') == pytest.approx(1 - cost)
    assert getpass.getuser() not in "".join(lines).replace("m|team", "")
    journal_metrics.stop_serving()


PROGRAM = """
import sys
import safellm
client = safellm.OpenAI(base_url=sys.argv[1], api_key="x", max_retries=0)
ask = lambda: client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
ask()
assert not [name for name in sys.modules if name.startswith("opentelemetry")], "imported for nobody"
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
ask()
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
ask()
client.close()
import time
end = time.monotonic() + 30
while time.monotonic() < end:
    data = reader.get_metrics_data()
    found = {} if data is None else {
        metric.name: sum(getattr(point, "count", None) or getattr(point, "value", 0) for point in metric.data.data_points)
        for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    }
    if "safellm.cost" in found:
        break
    time.sleep(0.01)
print(found["safellm.requests"], found["gen_ai.client.token.usage"])
"""


def test_metrics_go_to_the_provider_that_the_program_sets(provider, python) -> None:
    """Without one nothing is imported and nothing counted; from the moment it is set, calls are."""
    pytest.importorskip("opentelemetry.sdk")
    assert python(PROGRAM, provider.base_url).stdout.split() == ["1", "2"]


@pytest.mark.parametrize("setting", ["prometheus:0", "prometheus:x", "yes"])
def test_metrics_that_nobody_knows_are_a_mistake(sync, provider, monkeypatch, setting) -> None:
    """A misspelt setting is told when the policy is read."""
    monkeypatch.setenv("SAFELLM_METRICS", setting)
    with pytest.raises(ConfigurationError, match=r"SAFELLM_METRICS"):
        sync.client(provider)


@pytest.mark.parametrize(("timeout", "calls"), [(2, 2), (30, 3)])
def test_a_call_never_waits_for_a_rate_longer_than_for_an_answer(face, provider, timeout, calls) -> None:
    """The SDK's own timeout bounds the wait, where it is shorter than the policy's `wait_s`."""
    rate = {"requests": 6 if calls == 2 else 60, "burst": 2}  # the third has to wait for ten seconds, or for one
    limit = {**rate, "window": "minute", "rate": True, "action": "wait", "wait_s": 20, "name": "w"}
    client = face.client(provider, timeout=timeout, safellm={"budget.limits": [limit]})
    began = time.monotonic()
    done = 0
    with pytest.raises(openai.RateLimitError) if calls == 2 else safellm.labels():
        for _ in range(3):
            face.ask(client)
            done += 1
    assert done == calls
    assert calls == 3 or time.monotonic() - began < 8
