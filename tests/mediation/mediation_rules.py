"""What may pass, and why: the short list of exceptions, and what some methods must be given to be called at all."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

# Methods that make no request. Anything else that makes none is a hole in this walk.
LOCAL = {
    "webhooks.unwrap": "checks a signature that was received",
    "webhooks.verify_signature": "checks a signature that was received",
    "beta.agents.environments.files.prepare_directory": "reads a folder, then calls `prepare`",
    "beta.agents.sessions.artifacts.for_result": "makes an object; its methods call `artifacts.list` and `artifacts.content`",
}

# None leaves a parameter out: two of them exclude each other, or the SDK wants an object of its own class.
GIVEN: dict[str, dict[str, Any]] = {
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


# (place, reason). A place is matched at its end; `[]` and `.*` are items of lists and maps.
CREDENTIALS = (
    (r"(tools\[\]|\btransport)\.\*?authorization", "the credential of a remote tool: the provider calls it with this"),
    (r"\bheaders\.\*authorization", "the same, as a header"),
    (
        r"\bauth\.(access_token|refresh\.refresh_token|refresh\.token_endpoint_auth\.client_secret)",
        "what a credential vault stores",
    ),
    (r"\bdomain_secrets\[\]\.value", "what a sandbox adds to its own calls"),
)
OPAQUE = (
    (r"\bencrypted_content", "encrypted by the provider"),
    (
        r"(input|output|items|data)\[\]\.fingerprint|item\.fingerprint",
        "signed by the provider: one changed byte breaks the next turn",
    ),
    (r"(^|\.)sdp", "the offer of a connection: one changed byte breaks it"),
)
HEADERS = ((r"idempotency_key", "a header, like `extra_headers`: headers are where credentials stand"),)
# Only secrets are hidden there: a placeholder would be another thing, or none.
NAMED = (
    (r"(^|[._*])(id|ids|\w+_ids?)(\[\])?", "an identifier"),
    (r"(url|_url|server_url|token_endpoint|endpoint|allowed_domains\[\]|blocked_domains\[\])", "an address"),
    (r"\b(model|role|type|detail|conversation|include\[\]|object|status|purpose|mode|size|quality|background|completion_window|voice|system_fingerprint|obfuscation)",
     "a word of the provider's own"),
)  # fmt: skip
# A tool's input goes to a program, not to a person: rewriting it changes what the program does.
TOOL_INPUT = (
    (r"\barguments|\bcustom\.input|function_call\.arguments", "JSON, or what a tool takes"),
    (
        r"(arguments|custom_tool_call_input|code_interpreter_call_code|shell_call_command)/delta\.delta",
        "the same in pieces",
    ),
    (r"step_details\.tool_calls\[\]\.code_interpreter\.input", "the same in pieces"),
)
TOKENS = ((r"\b(token|tokens\[\]|bytes\[\])", "a piece of the answer, repeated for its probability"),)


def is_one_of(place: str, *lists: tuple[tuple[str, str], ...]) -> bool:
    """Return whether a place is on one of the lists."""
    return any(re.search(f"(?:{pattern})$", place) for one in lists for pattern, _ in one)


def may_leave(what: str, where: str, place: str) -> bool:
    """Return whether a marked value may have reached the wire."""
    if where == "header":
        return is_one_of(place, HEADERS)
    if what == "mail":
        # A filter or a page mark in the URL has to be understood by the provider; a secret there is refused.
        return where in ("url", "body:open") or is_one_of(place, NAMED, CREDENTIALS, OPAQUE)
    return is_one_of(place, CREDENTIALS, OPAQUE)


def may_come(what: str, place: str) -> bool:
    """Return whether a marked text of an answer may have reached the program like this."""
    if what == "raw":
        return is_one_of(place, TOOL_INPUT, OPAQUE, CREDENTIALS)
    if what == "not restored":
        return place.endswith("?") or is_one_of(place, NAMED, TOOL_INPUT, OPAQUE, CREDENTIALS, TOKENS)
    return False
