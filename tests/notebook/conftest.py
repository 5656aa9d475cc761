"""Real kernels, and a real JupyterLab in a real browser, on a provider of this machine."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from safellm.testing.provider import LoopbackProvider

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4


@pytest.fixture(scope="module")
def provider() -> Iterator[LoopbackProvider]:
    """One provider for the kernels of a file."""
    with LoopbackProvider() as running:
        yield running


@pytest.fixture(scope="module")
def environment(provider: LoopbackProvider, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What kernels get: a home of their own, a key, and the loopback provider for OpenAI's."""
    folder = tmp_path_factory.mktemp("notebook")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SAFELLM_", "OPENAI_", "JUPYTER"))
    }
    return kept | {
        "SAFELLM_HOME": str(folder / "home"),
        "SAFELLM_KEYS_VAULT": "false",
        "OPENAI_API_KEY": "given-in-the-environment",
        "OPENAI_BASE_URL": provider.base_url,
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }


@pytest.fixture(scope="module")
def run(environment: dict[str, str]) -> Iterator[Callable[..., list[Any]]]:
    """Run cells in one kernel with the extension loaded; returns the outputs of each cell, as they would be saved."""
    from jupyter_client.manager import KernelManager

    # Unix sockets: ports that are chosen before they are bound may be taken by another test meanwhile.
    own = {"transport": "ipc", "ip": f"{environment['IPYTHONDIR']}-k"} if os.name == "posix" else {}
    manager = KernelManager(kernel_name="python3", **own)
    manager.start_kernel(env=environment)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)

        def execute(source: str, *, answers: tuple[str, ...] = ()) -> Cell:
            made = Cell()
            waiting = list(answers)
            reply = client.execute_interactive(
                source,
                timeout=60,
                allow_stdin=bool(answers),
                output_hook=lambda message: made.take(message),
                stdin_hook=lambda message: client.input(waiting.pop(0)),
            )
            made.status = reply["content"]["status"]
            made.payload = reply["content"].get("payload", [])
            return made

        assert execute("%load_ext safellm").status == "ok"
        yield execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class Cell:
    """What a cell showed."""

    def __init__(self) -> None:
        self.status = ""
        self.outputs: list[dict[str, Any]] = []
        self.payload: list[dict[str, Any]] = []

    def take(self, message: dict[str, Any]) -> None:
        if message["msg_type"] in ("stream", "display_data", "update_display_data", "execute_result", "error"):
            self.outputs.append(message["content"])

    @property
    def saved(self) -> str:
        """Everything that would be in the file."""
        return json.dumps(self.outputs)

    @property
    def text(self) -> str:
        """What a person reads, as plain text."""
        found = (
            one.get("text") or one.get("data", {}).get("text/plain") or one.get("evalue") or "" for one in self.outputs
        )
        return "".join(found)


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of code cells."""

    def write(*sources: str) -> Path:
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        file = tmp_path / "work.ipynb"
        nbformat.write(made, file)
        return file

    return write
