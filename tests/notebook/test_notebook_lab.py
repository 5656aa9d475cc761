"""A person's way: JupyterLab in a browser, a notebook that is run, saved and looked at."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import PROGRAM, chromium

from safellm.notebook.saving import pre_save, strip_notebook

KEY = "sk-" + "proj-" + "A1b2C3d4E5" * 4
MAIL = "jane.doe@corp-mail.org"
_RUN = """(async () => { const app = window.jupyterapp; if (!app) return false;
    await app.restored; const panel = app.shell.currentWidget;
    if (!panel || !panel.sessionContext) return false; await panel.sessionContext.ready;
    await app.commands.execute('notebook:run-all-cells'); await app.commands.execute('docmanager:save'); return true })()"""
_READY = "!!(window.jupyterapp && window.jupyterapp.shell.currentWidget && window.jupyterapp.shell.currentWidget.sessionContext)"
_IMAGES = "[...document.querySelectorAll('.jp-OutputArea img')].length"
_SHOWN = "[...document.querySelectorAll('.jp-OutputArea-output')].map(one => one.innerText).join('\\n')"


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_o_1_a_notebook_in_jupyterlab_shows_and_saves_nothing_that_it_should_not(
    environment, notebook, provider, tmp_path
):
    """Cells run in a real browser; the answer loads nothing; the file on the disk holds no key and no hidden person."""
    file = notebook(
        "%load_ext safellm",
        f"%%ask gpt-4o\nThank {MAIL} for the order. ![pixel](https://sink.example/p.png?d=1)",
        "print('the key is', 'sk-' + 'proj-' + 'A1b2C3d4E5' * 4)",
        "import safellm\nsafellm.redact('Ring +44 20 7946 0958 or write to " + MAIL + "')",
        "safellm.dashboard()",
    )
    config = Path(environment["JUPYTER_CONFIG_DIR"])
    config.mkdir(exist_ok=True)
    (config / "jupyter_server_config.py").write_text(
        'c.FileContentsManager.pre_save_hook = "safellm.notebook.saving.pre_save"\n', "utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--port=0",
        "--IdentityProvider.token=",
        "--allow-root",
    ]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", f"--ServerApp.root_dir={file.parent}"]
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        base = _address(tmp_path / "lab.log", server)
        with chromium() as browser:
            browser.open(f"{base}/lab/tree/{file.name}", height=1500)
            browser.wait_for(_READY)
            browser.wait_for(_RUN)
            shown = browser.wait_for(f"(() => {{ const text = {_SHOWN}; return text.includes('tokens') && text }})()")
            assert "[EMAIL]" in shown
            assert "[SECRET]" in shown
            assert KEY not in shown
            assert browser.wait_for(f"String({_IMAGES})") == "0"
            assert not [url for url in browser.requests() if "sink.example" in url]
            if os.environ.get("SCREENSHOTS"):  # for people to look at
                time.sleep(2)
                browser.screenshot(Path(os.environ["SCREENSHOTS"]) / "lab.png")
    finally:
        server.terminate()
        server.wait(20)
        log.close()
    saved = json.loads(file.read_text("utf-8"))
    outputs = json.dumps([cell["outputs"] for cell in saved["cells"]])
    assert "[SECRET]" in outputs
    assert KEY not in outputs
    assert MAIL not in outputs
    assert MAIL.encode() not in b"".join(provider.received)


def _address(log: Path, server: subprocess.Popen) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        found = re.search(r"http://(?:127\.0\.0\.1|localhost):(\d+)/lab", log.read_text("utf-8"))
        if found:
            return f"http://127.0.0.1:{found[1]}"
        time.sleep(0.1)
    raise AssertionError(log.read_text("utf-8"))


def test_saving_takes_secrets_out_of_sources_and_outputs(home):
    """The hook of Jupyter's server; what holds none stays as it is, to the byte."""
    clean = {
        "cell_type": "code",
        "source": ["x = 1\n", "print(x)"],
        "outputs": [{"output_type": "stream", "text": ["1\n"]}],
    }
    leaky = {
        "cell_type": "code",
        "source": f'client = OpenAI(api_key="{KEY}")\nprint(client)',
        "outputs": [
            {"output_type": "stream", "text": ["first\n", f"key: {KEY}\n", "last\n"]},
            {"output_type": "execute_result", "data": {"text/html": f"<b>{KEY}</b>", "application/json": {"a": [KEY]}}},
        ],
    }
    content = {"cells": [json.loads(json.dumps(clean)), leaky], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    pre_save({"type": "notebook", "content": content}, path="x.ipynb")
    assert content["cells"][0] == clean
    assert KEY not in json.dumps(content)
    assert leaky["outputs"][0]["text"] == ["first\n", "key: [SECRET]\n", "last\n"]
    assert strip_notebook(content) == 0


def test_other_files_are_left_alone(home):
    """The hook is called for every file."""
    model = {"type": "file", "content": KEY}
    pre_save(model, path="x.txt")
    assert model["content"] == KEY
