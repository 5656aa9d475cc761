"""What an import loads: nothing heavy before it is used."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

LOADED = "import sys, {module}; print(*sorted(name.partition('.')[0] for name in sys.modules if '.' not in name))"
NEVER = ("keyring", "cryptography", "tiktoken", "structlog", "rich", "typer", "re2", "genai_prices")


def loaded(python, module):
    return set(python(LOADED.format(module=module)).stdout.split())


def test_import_of_safellm_loads_nothing_heavy(python):
    """`import safellm`: no SDK, no store, no command line."""
    assert not loaded(python, "safellm") & {
        *NEVER,
        "openai",
        "httpx",
        "httpx2",
        "pydantic",
        "sqlite3",
        "anyio",
        "asyncio",
    }


def test_import_of_the_drop_in_module_adds_nothing_heavy(python):
    """`import safellm.openai` costs what the SDK costs: old httpx loads `rich` where it is installed, we load nothing heavy."""
    assert not (loaded(python, "safellm.openai") - loaded(python, "openai")) & set(NEVER)


@pytest.mark.parametrize("name", ["OpenAI", "AsyncAzureOpenAI"])
def test_late_names_of_safellm_load_on_use(python, name):
    """`from safellm import OpenAI` works without an import before."""
    assert python(f"from safellm import {name}; print({name}.__module__)").stdout.strip() == "safellm_openai.clients"
