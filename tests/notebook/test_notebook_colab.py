"""Colab keeps secrets beside the notebook: they are read where they exist, and need no dialog of ours."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from safellm.testing.canary import make_canary, sweep

# What Colab's module does, as far as a notebook sees it: a value, or one of its own errors.
_USERDATA = """
import os

class SecretNotFoundError(Exception):
    pass

class NotebookAccessError(Exception):
    pass

def get(name):
    if name == "ANTHROPIC_API_KEY":
        raise NotebookAccessError(name)
    if name != "OPENAI_API_KEY":
        raise SecretNotFoundError(name)
    return os.environ["COLAB_SECRET"]
"""
_CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell("%load_ext safellm").raise_error()
shell.run_cell("from openai import OpenAI; client = OpenAI(max_retries=0)").raise_error()
shell.run_cell("client.responses.create(model='gpt-4o', input='hello').output_text").raise_error()
assert os_key not in repr(vars(shell.user_ns["client"]))
print("anthropic" in __import__("safellm.notebook.keys", fromlist=["_asked"])._asked.keys)
"""


def test_a_secret_of_colab_is_used_and_stays_out_of_the_client(environment, provider, tmp_path: Path) -> None:
    """A client without a key takes Colab's; a secret that the notebook may not read counts as none."""
    (tmp_path / "google" / "colab").mkdir(parents=True)
    (tmp_path / "google" / "colab" / "__init__.py").write_text("", "utf-8")
    (tmp_path / "google" / "colab" / "userdata.py").write_text(_USERDATA, "utf-8")
    key = make_canary()
    given = {name: value for name, value in environment.items() if name != "OPENAI_API_KEY"}
    given |= {"PYTHONPATH": str(tmp_path), "COLAB_SECRET": key}
    code = f"import os\nos_key = os.environ['COLAB_SECRET']\n{_CELLS}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert any(one.headers.get("authorization") == f"Bearer {key}" for one in provider.requests)
    assert sweep(key, texts=[done.stdout, done.stderr]) == []
