"""OpenAI's SDK, described for the walk."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from mediation_sdk import MARKED_NAMES, ROOT, SDK

import openai
import safellm
from safellm_openai.endpoints import find_route

_LOCAL = {
    "webhooks.unwrap": "checks a signature that was received",
    "webhooks.verify_signature": "checks a signature that was received",
    "beta.agents.environments.files.prepare_directory": "reads a folder, then calls `prepare`",
    "beta.agents.sessions.artifacts.for_result": "makes an object; its methods call `artifacts.list` and `artifacts.content`",
}

_GIVEN: dict[str, dict[str, Any]] = {
    "beta.agents.sessions.create": {"tool_handlers": None, "output_type": None},
    "beta.agents.sessions.stream": {"tool_handlers": None, "output_type": None},
    "beta.chat.completions.parse": {"tools": None},
    "beta.chat.completions.stream": {"tools": None},
    "chat.completions.parse": {"tools": None},
    "chat.completions.stream": {"tools": None},
    "responses.parse": {"tools": None},
    "responses.stream": {"tools": None, "response_id": None, "starting_after": None},
    "beta.agents.environments.files.upload": {"path": "/workspace/notes.txt"},
    "beta.threads.runs.create_and_poll": {"thread_id": "item-1", "ids": True},
    "beta.threads.runs.create_and_stream": {"thread_id": "item-1"},
    "beta.threads.runs.stream": {"thread_id": "item-1"},
    "beta.threads.runs.submit_tool_outputs_and_poll": {"thread_id": "item-1", "run_id": "item-1", "ids": True},
    "beta.threads.runs.submit_tool_outputs_stream": {"thread_id": "item-1", "run_id": "item-1"},
    "vector_stores.files.create_and_poll": {"file_id": "item-1", "ids": True},
    "vector_stores.files.poll": {"file_id": "item-1"},
    "vector_stores.file_batches.poll": {"batch_id": "item-1"},
    "files.wait_for_processing": {"id": "item-1"},
    "uploads.upload_file_chunked": {
        "file": lambda marks: marks.request("file!bare", "text").encode(),
        "filename": "notes.txt",
        "bytes": 100,
        "part_size": None,
        "ids": True,
    },
    "beta.agents.environments.files.prepare": {"files": lambda marks: {"/workspace/notes.txt": _file(marks)}},
}


_FOLDER = Path(tempfile.mkdtemp(prefix="mediation-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def _file(marks: Any) -> str:
    path = _FOLDER / "notes.txt"
    path.write_text(marks.request("files!text", "text"), "utf-8")
    return str(path)


_CREDENTIALS = (
    (r"(tools\[\]|\btransport)\.\*?authorization", "the credential of a remote tool: the provider calls it with this"),
    (r"\bheaders\.\*authorization", "the same, as a header"),
    (
        r"\bauth\.(access_token|token|secret_value|refresh\.refresh_token|refresh\.token_endpoint_auth\.client_secret)",
        "what a credential vault stores",
    ),
    (r"\bdomain_secrets\[\]\.value", "what a sandbox adds to its own calls"),
)
_OPAQUE = (
    (r"\bencrypted_content", "encrypted by the provider"),
    (
        r"(input|output|items|data)\[\]\.fingerprint|item\.fingerprint",
        "signed by the provider: one changed byte breaks the next turn",
    ),
    (r"(^|\.)sdp", "the offer of a connection: one changed byte breaks it"),
)
# Only secrets are hidden there: a placeholder would be another thing, or none.
_NAMED = (
    (r"(^|[._*])(id|ids|\w+_ids?)(\[\])?", "an identifier"),
    (r"(url|_url|server_url|token_endpoint|endpoint|allowed_domains\[\]|blocked_domains\[\]|allowed_hosts\[\])", "an address"),
    (r"\b(model|role|type|detail|conversation|include\[\]|object|status|purpose|mode|size|quality|background|completion_window|voice|system_fingerprint|obfuscation)",
     "a word of the provider's own"),
)  # fmt: skip
# Whom an administrative call is about: a placeholder would invite, or tell, nobody.
_ACCOUNTS = (
    (r"^email", "who is invited, or let into a project"),
    (r"notification_channel\.recipients\[\]", "who is told of a limit"),
)
# A tool's input goes to a program, not to a person: rewriting it changes what the program does.
_TOOL_INPUT = (
    (r"\barguments(\..*)?|\bcustom\.input|function_call\.arguments", "JSON, or what a tool takes"),
    (
        r"(arguments|custom_tool_call_input|code_interpreter_call_code|shell_call_command)/delta\.delta",
        "the same in pieces",
    ),
    (r"step_details\.tool_calls\[\]\.code_interpreter\.input", "the same in pieces"),
)
_TOKENS = ((r"\b(token|tokens\[\]|bytes\[\])", "a piece of the answer, repeated for its probability"),)


_OPTIONS: dict[str, Any] = {"api_key": "given", "max_retries": 0, "base_url": "https://api.openai.com/v1"}
if "admin_api_key" in openai.OpenAI.__init__.__annotations__:
    _OPTIONS["admin_api_key"] = "given"
_NATIVE = importlib.import_module("httpx2" if int(openai.VERSION.split(".")[0]) >= 3 else "httpx")

OPENAI = SDK(
    name="openai",
    version=openai.VERSION,
    pinned="3.54.0",
    size=(436, 134),
    page=ROOT / "docs" / "mediation.md",
    native=_NATIVE,
    error=openai.APIError,
    sync=lambda http: safellm.OpenAI(http_client=http, safellm=MARKED_NAMES, **_OPTIONS),
    make_async=lambda http: safellm.AsyncOpenAI(http_client=http, safellm=MARKED_NAMES, **_OPTIONS),
    plain=lambda: openai.OpenAI(api_key="none", http_client=_NATIVE.Client()),
    find_route=find_route,
    endpoints=frozenset(
        (line.split(" ")[0], line.split(" ")[1])
        for line in (files("safellm_openai") / "endpoints.txt").read_text("ascii").splitlines()
    ),
    older=frozenset({("POST", "/evals/{eval_id}/runs/{run_id}")}),
    local=_LOCAL,
    given=_GIVEN,
    helpers=("stream", "create_and_run_stream", "create_and_stream", "submit_tool_outputs_stream", "upload", "prepare"),
    polling=("poll", "wait_for_processing", "upload_file_chunked"),
    unstreamed=("parse",),
    fixed={
        "prefer": ("completed", "processed", "succeeded", "idle"),
        "plain": {
            "id": "item-1",
            "vector_store_id": "item-1",
            "thread_id": "item-1",
            "last_id": None,
            "first_id": None,
        },
    },
    credentials=_CREDENTIALS,
    opaque=_OPAQUE,
    named=_NAMED,
    accounts=_ACCOUNTS,
    tool_input=_TOOL_INPUT,
    tokens=_TOKENS,
    samples=("chat.completions.create", "responses.create", "files.list"),
    doors=frozenset({"get", "post", "put", "patch", "delete", "get_api_list", "request"}),
    guarded_sockets=frozenset(
        {
            "responses.connect",
            "beta.responses.connect",
            "realtime.connect",
            "realtime.translations.connect",
            "beta.realtime.connect",
            "live.connect",
            "live.forks.connect",
            "live.sideband.connect",
        }
    ),
)
