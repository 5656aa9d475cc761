"""Where the demo plays: a folder of its own, a provider, and a client whose bytes are noted just before they leave.

| `--model` | provider | folder, policy, ledger, trail | key |
|---|---|---|---|
| (none) | `LoopbackProvider` on 127.0.0.1, which quotes | temporary | made up, in a variable |
| `local` | a real model in a child process | temporary | made up, in a variable |
| a name | the user's own provider | the user's own | resolved as always |
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import io
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from safellm.cli.world import look
from safellm.testing.provider import LoopbackProvider

LOCAL: Final = "local"
DEFAULT_MODEL: Final = "gpt-4o-mini"  # the loopback provider takes any name; this one has a price
ACCOUNT: Final = "demo"
# Small enough that a bar shows something; a reasoning model of the user's own provider needs more room.
SMALL: Final = {"usd": "0.002", "tokens": 2_000, "output": 512}
LARGE: Final = {"usd": "0.25", "tokens": 50_000, "output": 4_096}
DECLARED: Final = "send_mail.to"
# The demo must not depend on the user's settings, nor touch what they protect.
_CLEARED: Final = ("SAFELLM_", "OPENAI_", "AZURE_OPENAI_")
_KEPT: Final = frozenset({"SAFELLM_LOCAL_MODEL"})
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})


@dataclass(slots=True, kw_only=True)
class Wire:
    """One request as it left and its answer as it came, both outside the guard."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int = 0
    answer: bytearray = field(default_factory=bytearray, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that the demo's calls need.

    Attributes:
        client: The guarded client, a subclass of the SDK's own.
        wires: What left and what came back, in order.
        provider: The loopback provider; None when another one answers.
        home: Folder of ledger and trail; None when they are the user's own.
        key: The real key that the provider gets, in a temporary stage; it is made up.
        settings: What the client was given as `safellm=`.
    """

    client: Any
    model: str
    title: str
    wires: list[Wire]
    provider: LoopbackProvider | None
    home: Path | None
    key: str = field(repr=False)
    settings: Mapping[str, Any]


@contextlib.contextmanager
def open_stage(model: str | None, *, keep: bool) -> Iterator[Stage]:
    """Set everything up, and take it down afterwards.

    Args:
        model: None, `local` or the name of a model.
        keep: Leave the temporary folder.

    Raises:
        ConfigurationError: the local model is missing, or the user's own settings don't allow the call.
    """
    if model is not None and model != LOCAL:
        limits = [one.model_dump(exclude_none=True) for one in look().policy.budget.limits]
        settings = _settings(limits, LARGE, priced=True)
        wires: list[Wire] = []
        with _client(wires, settings, {}) as client:
            title = f"{model} at {client.base_url}"
            yield Stage(
                client=client,
                model=model,
                title=title,
                wires=wires,
                provider=None,
                home=None,
                key="",
                settings=settings,
            )
        return
    with contextlib.ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="safellm-demo-"))
        if not keep:
            stack.callback(_remove, home)
        yield stack.enter_context(_temporary(home, local=model == LOCAL))


@contextlib.contextmanager
def _temporary(home: Path, *, local: bool) -> Iterator[Stage]:
    key = "sk-" + "proj-" + secrets.token_urlsafe(24).replace("_", "x").replace("-", "y")
    wires: list[Wire] = []
    settings = _settings([], SMALL, priced=not local)
    with contextlib.ExitStack() as stack:
        local_path = os.environ.get("SAFELLM_LOCAL_MODEL")
        stack.enter_context(_environment({"SAFELLM_HOME": str(home), "OPENAI_API_KEY": key}))
        provider: LoopbackProvider | None = None
        if local:
            from safellm.testing.local_model import LocalModel

            running = stack.enter_context(LocalModel(local_path, api_key=key))
            base_url, model, title = (
                running.base_url,
                running.model,
                f"{running.path.name}, a real model on this machine",
            )
        else:
            provider = stack.enter_context(LoopbackProvider(api_key=key))
            base_url, model, title = provider.base_url, DEFAULT_MODEL, "an echoing provider on this machine"
        client = stack.enter_context(_client(wires, settings, {"base_url": base_url}))
        yield Stage(
            client=client,
            model=model,
            title=title,
            wires=wires,
            provider=provider,
            home=home,
            key=key,
            settings=settings,
        )
        _close_stores()


def _settings(limits: list[dict[str, Any]], size: Mapping[str, Any], *, priced: bool) -> dict[str, Any]:
    own: list[dict[str, Any]] = [{"name": ACCOUNT, "window": "day", "tokens": size["tokens"]}]
    if priced:  # no price is known for a model of one's own, and a money limit would refuse its calls
        own.insert(0, {"name": ACCOUNT, "window": "day", "usd": size["usd"]})
    return {
        "budget": {"limits": [*limits, *own], "max_output_tokens": size["output"]},
        "redaction": {"restore_tool_arguments": [DECLARED]},
    }


@contextlib.contextmanager
def _client(wires: list[Wire], settings: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Any]:
    import openai
    from safellm import OpenAI

    recorder = recording_client(openai.DefaultHttpxClient, wires)
    # The one-time hint about a key in a variable goes to a terminal's standard error: here the key is the demo's.
    quiet = contextlib.redirect_stderr(io.StringIO()) if options else contextlib.nullcontext()
    with quiet:
        client = OpenAI(http_client=recorder, safellm=settings, max_retries=0, timeout=120.0, **options)
    with client:
        yield client
    recorder.close()


def recording_client(kind: Any, wires: list[Wire]) -> Any:
    """Return an HTTP client of the SDK's own kind whose transport notes what leaves and what comes.

    Args:
        kind: `openai.DefaultHttpxClient`: of httpx in SDK 2.x, of httpx2 in 3.x.
        wires: Gets one entry per request.
    """
    family = next(base.__module__.partition(".")[0] for base in kind.__mro__ if base.__module__.startswith("httpx"))
    module = sys.modules[family]

    class Noting(module.SyncByteStream):  # type: ignore[name-defined, misc]  # the module is known at run time
        def __init__(self, inner: Any, wire: Wire) -> None:
            self._inner, self._wire = inner, wire

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._inner:
                self._wire.answer += chunk
                yield chunk

        def close(self) -> None:
            self._inner.close()

    class Recorder(module.HTTPTransport):  # type: ignore[name-defined, misc]  # the module is known at run time
        def handle_request(self, request: Any) -> Any:
            # Read here, after the guard: these are the bytes that go out.
            wire = Wire(method=request.method, url=str(request.url), headers=dict(request.headers), body=request.read())
            wires.append(wire)
            response = super().handle_request(request)
            wire.status = response.status_code
            response.stream = Noting(response.stream, wire)
            return response

    return kind(transport=Recorder())


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in before:
        if (name.startswith(_CLEARED) and name not in _KEPT) or name.lower() in _PROXIES:
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _close_stores() -> None:
    """Close what the client opened: Windows removes no file that is open."""
    from safellm.stores.journal.open import JOURNALS
    from safellm.stores.ledger.choose import LEDGERS

    LEDGERS.clear()
    JOURNALS.clear()


def _remove(folder: Path) -> None:
    import gc
    import shutil

    gc.collect()  # connections of the ledger close with their object
    shutil.rmtree(folder, ignore_errors=True)
