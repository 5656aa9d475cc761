"""A Node program over loopback TCP: guarded by the broker like any other, with Node's own `fetch` and with OpenAI's SDK for it."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

NODE = shutil.which("node")
MAIL = "ann.lee@mail.example.com"
FETCH = """
const [base, grant, mail] = process.argv.slice(1);
const headers = {authorization: `Bearer ${grant}`, "content-type": "application/json"};
const ask = (more) => fetch(`${base}/chat/completions`, {method: "POST", headers,
    body: JSON.stringify({model: "gpt-4o", messages: [{role: "user", content: `Write to ${mail}`}], ...more})});
(async () => {
  const whole = await (await ask({})).json();
  const stream = await (await ask({stream: true})).text();
  let text = "";
  for (const line of stream.split("\\n"))
    if (line.startsWith("data: {"))
      for (const choice of JSON.parse(line.slice(6)).choices) text += choice.delta.content ?? "";
  const refused = await ask({model: "gpt-5"});
  const web = await fetch(`${base}/models`, {headers: {...headers, origin: "https://evil.test"}});
  console.log(JSON.stringify({whole: whole.choices[0].message.content, stream: text, status: refused.status,
    code: (await refused.json()).error.code, ends: stream.trimEnd().endsWith("[DONE]"), web: web.status}));
})();
"""
SDK = """
const OpenAI = require("openai");
const [baseURL, apiKey, mail] = process.argv.slice(1);
const client = new OpenAI({baseURL, apiKey});
const request = {model: "gpt-4o", messages: [{role: "user", content: `Write to ${mail}`}]};
(async () => {
  const whole = await client.chat.completions.create(request);
  let text = "";
  for await (const part of await client.chat.completions.create({...request, stream: true}))
    text += part.choices[0]?.delta?.content ?? "";
  let refused;
  try { await client.chat.completions.create({...request, model: "gpt-5"}); } catch (error) { refused = error; }
  console.log(JSON.stringify({whole: whole.choices[0].message.content, stream: text, status: refused.status,
    code: refused.code, kind: refused.constructor.name}));
})();
"""


def has_sdk() -> bool:
    if NODE is None:
        return False
    done = subprocess.run([NODE, "-e", "require.resolve('openai')"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def run(program: str, broker: Any, grant: Any) -> dict[str, Any]:
    """Run a program that knows the broker's port and a grant, and nothing else."""
    environ = {name: os.environ[name] for name in ("PATH", "NODE_PATH") if name in os.environ}
    done = subprocess.run(
        [str(NODE), "-e", program, f"{broker.addresses[1]}/v1", grant.text(), MAIL],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_guarded(found: dict[str, Any], provider: Any, broker_records: Any) -> None:
    assert MAIL in found["whole"], "restored"
    assert MAIL in found["stream"], "restored in a stream"
    assert (found["status"], found["code"]) == (403, "grant.denied")
    assert len(provider.requests) == 2, "the refused one was sent neither once nor again"
    for seen in provider.requests:
        assert MAIL.encode() not in seen.body
        assert "slm_" not in repr(seen.raw_headers)
    assert len(broker_records("call.outcome")) == 2
    assert len(broker_records("policy.deny")) >= 1


@pytest.mark.skipif(NODE is None, reason="NOT TESTED with Node: sudo apt-get install nodejs")
def test_a_node_program_is_guarded(start, broker_grant, broker_records, provider):
    """Masked on its way out, restored in answers and streams, refused where the grant ends; a web page's request too."""
    found = run(FETCH, start(port=0), broker_grant(model=["gpt-4o"]))
    assert_guarded(found, provider, broker_records)
    assert found["ends"]
    assert found["web"] == 403


@pytest.mark.skipif(not has_sdk(), reason="NOT TESTED with Node's SDK: npm install openai, and set NODE_PATH")
def test_openai_s_sdk_for_node_is_guarded(start, broker_grant, broker_records, provider):
    """With `baseURL` and the grant as its key; a refusal is the SDK's own error and is not tried again."""
    found = run(SDK, start(port=0), broker_grant(model=["gpt-4o"]))
    assert_guarded(found, provider, broker_records)
    assert found["kind"] == "PermissionDeniedError"
