"""`examples/notebook.ipynb` is clean as it stands, runs from top to bottom offline, and holds nothing afterwards that it hid."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager

from safellm.notebook import saving

FILE = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


@pytest.fixture(scope="module")
def executed(environment: dict[str, str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The code cells with what they showed, in a kernel that has no key."""
    plain = {name: value for name, value in environment.items() if not name.startswith("OPENAI_")}
    # A Unix socket where there is one: a port that is chosen before it is bound may be taken meanwhile.
    own = {"transport": "ipc", "ip": f"{environment['IPYTHONDIR']}-e"} if os.name == "posix" else {}
    manager = KernelManager(kernel_name="python3", **own)
    manager.start_kernel(env=plain)
    client = manager.client()
    client.start_channels()
    made = []
    try:
        client.wait_for_ready(timeout=60)
        for cell in nbformat.read(FILE, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            outputs: list[dict[str, Any]] = []
            reply = client.execute_interactive(
                cell.source,
                timeout=60,
                allow_stdin=False,
                output_hook=lambda one, kept=outputs: kept.append(one["content"]),
            )
            assert reply["content"]["status"] == "ok", f"{cell.source}: {reply['content'].get('evalue')}"
            made.append((cell.source, outputs))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return made


def shown(executed: list[tuple[str, list[dict[str, Any]]]], part: str) -> str:
    """Return what the cell with this text showed, as it would be saved."""
    (found,) = [outputs for source, outputs in executed if part in source]
    return json.dumps([one for one in found if "data" in one or "text" in one])


def test_the_file_is_clean():
    """No output, no count, an ordinary kernel, and nothing that saving would take out."""
    found = nbformat.read(FILE, as_version=4)
    nbformat.validate(found)
    assert found.metadata.kernelspec.name == "python3"
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
    before = json.loads(FILE.read_text("utf-8"))
    model = {"type": "notebook", "content": json.loads(FILE.read_text("utf-8"))}
    saving.pre_save(model=model, path="notebook.ipynb", contents_manager=None)
    assert model["content"] == before


def test_it_shows_what_it_promises(executed):
    """Redaction, a guarded call of the plain SDK, a question with its strip, a limit that ends, and the session's page."""
    assert "EMAIL" in shown(executed, "safellm.redact")
    calls = shown(executed, "register_values")
    assert "the program has the name: True" in calls
    assert "call with [CUSTOMER]." in calls
    assert "X-CUSTOMER-" in calls
    asked = shown(executed, "%%ask")
    assert "1 EMAIL" in asked
    assert "tokens" in asked
    assert "budget.exceeded" in shown(executed, "safellm.scope")
    assert "<iframe sandbox srcdoc=" in shown(executed, "safellm.dashboard")


def test_no_personal_data_would_be_saved(executed):
    """Addresses and names are in no output of any cell, though the answers had them."""
    sources = "".join(source for source, _ in executed)
    saved = json.dumps([one for _, outputs in executed for one in outputs if "code" not in one])
    for value in ("alice@example.com", "7946 0958", "Miller"):
        assert value in sources
        assert value not in saved
