"""safellm: swap one import, and every LLM call passes local guards.

    from safellm import OpenAI          # instead of: from openai import OpenAI
    import safellm.openai as openai     # instead of: import openai

Nothing is loaded before it is used: importing this package touches no SDK, key store, network, environment or logging.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from safellm._version import __version__
from safellm.errors import ConfigurationError, GuardFailure, Reason, Refused, SafeLLMError, VaultUnavailable

if TYPE_CHECKING:
    from safellm._core.detection.finding import Finding as Finding
    from safellm._core.grant import Grant as Grant
    from safellm.anthropic import Anthropic as Anthropic
    from safellm.anthropic import AsyncAnthropic as AsyncAnthropic
    from safellm.audit.page import report_page as report_page
    from safellm.auto import install as install
    from safellm.auto import uninstall as uninstall
    from safellm.call_report import CallReport as CallReport
    from safellm.call_report import report as report
    from safellm.client import read_grant as read_grant
    from safellm.injection import injection_score as injection_score
    from safellm.injection import untrusted as untrusted
    from safellm.marking import Sensitive as Sensitive
    from safellm.marking import mask as mask
    from safellm.marking import sensitive as sensitive
    from safellm.neutralising import neutralise as neutralise
    from safellm.notebook.session import dashboard as dashboard
    from safellm.openai import AsyncAzureOpenAI as AsyncAzureOpenAI
    from safellm.openai import AsyncOpenAI as AsyncOpenAI
    from safellm.openai import AzureOpenAI as AzureOpenAI
    from safellm.openai import OpenAI as OpenAI
    from safellm.redaction import Redacted as Redacted
    from safellm.redaction import detect as detect
    from safellm.redaction import redact as redact
    from safellm.redaction import restore as restore
    from safellm.stores.conversations import conversation as conversation
    from safellm.stores.encodings.public import TokenCount as TokenCount
    from safellm.stores.encodings.public import count_tokens as count_tokens
    from safellm.stores.journal.background import on_event as on_event
    from safellm.stores.labels import labels as labels
    from safellm.stores.registered import register_secret as register_secret
    from safellm.stores.registered import register_values as register_values
    from safellm.stores.runs import run as run
    from safellm.stores.scopes import scope as scope
    from safellm.stores.warned import BudgetWarning as BudgetWarning
    from safellm.stores.warned import on_budget_warning as on_budget_warning
    from safellm.tools import Tool as Tool
    from safellm.tools import ToolRequest as ToolRequest
    from safellm.tools import approve_with as approve_with
    from safellm.tools import pin_tools as pin_tools
    from safellm.tools import tool as tool
    from safellm.tools import tool_digest as tool_digest

__all__ = [
    "Anthropic",
    "AsyncAnthropic",
    "AsyncAzureOpenAI",
    "AsyncOpenAI",
    "AzureOpenAI",
    "BudgetWarning",
    "CallReport",
    "ConfigurationError",
    "Finding",
    "Grant",
    "GuardFailure",
    "OpenAI",
    "Reason",
    "Redacted",
    "Refused",
    "SafeLLMError",
    "Sensitive",
    "TokenCount",
    "Tool",
    "ToolRequest",
    "VaultUnavailable",
    "__version__",
    "approve_with",
    "conversation",
    "count_tokens",
    "dashboard",
    "detect",
    "injection_score",
    "install",
    "labels",
    "mask",
    "neutralise",
    "on_budget_warning",
    "on_event",
    "pin_tools",
    "read_grant",
    "redact",
    "register_secret",
    "register_values",
    "report",
    "report_page",
    "restore",
    "run",
    "scope",
    "sensitive",
    "tool",
    "tool_digest",
    "uninstall",
    "untrusted",
]

_LATE = {
    "Anthropic": "safellm.anthropic",
    "AsyncAnthropic": "safellm.anthropic",
    "AsyncAzureOpenAI": "safellm.openai",
    "AsyncOpenAI": "safellm.openai",
    "AzureOpenAI": "safellm.openai",
    "CallReport": "safellm.call_report",
    "Finding": "safellm._core.detection.finding",
    "Grant": "safellm._core.grant",
    "OpenAI": "safellm.openai",
    "Redacted": "safellm.redaction",
    "Sensitive": "safellm.marking",
    "TokenCount": "safellm.stores.encodings.public",
    "Tool": "safellm.tools",
    "ToolRequest": "safellm.tools",
    "approve_with": "safellm.tools",
    "pin_tools": "safellm.tools",
    "tool": "safellm.tools",
    "tool_digest": "safellm.tools",
    "BudgetWarning": "safellm.stores.warned",
    "conversation": "safellm.stores.conversations",
    "dashboard": "safellm.notebook.session",
    "load_ipython_extension": "safellm.notebook",
    "unload_ipython_extension": "safellm.notebook",
    "count_tokens": "safellm.stores.encodings.public",
    "detect": "safellm.redaction",
    "labels": "safellm.stores.labels",
    "on_budget_warning": "safellm.stores.warned",
    "run": "safellm.stores.runs",
    "injection_score": "safellm.injection",
    "install": "safellm.auto",
    "mask": "safellm.marking",
    "neutralise": "safellm.neutralising",
    "on_event": "safellm.stores.journal.background",
    "read_grant": "safellm.client",
    "redact": "safellm.redaction",
    "register_secret": "safellm.stores.registered",
    "register_values": "safellm.stores.registered",
    "report": "safellm.call_report",
    "report_page": "safellm.audit.page",
    "restore": "safellm.redaction",
    "scope": "safellm.stores.scopes",
    "sensitive": "safellm.marking",
    "uninstall": "safellm.auto",
    "untrusted": "safellm.injection",
}


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - only for names that load something

    module = _LATE.get(name)
    if module is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
