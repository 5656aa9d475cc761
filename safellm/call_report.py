"""What happened to one answer, and what in it deserves a second look before somebody relies on it.

    print(safellm.report(response, sent=messages))

What was hidden, restored, changed or refused is read from the audit trail, which holds no content. Packages and addresses are
looked for in the answer itself: a model makes up names, and somebody may have registered them (Spracklen et al. 2025, "We have a
package for you": one recommended package in five doesn't exist).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

from safellm._core.account import ENDS, URL, Account, Restored
from safellm.stores import accounts
from safellm.stores.journal.files import tail
from safellm.stores.journal.open import audit_folder
from safellm.stores.places import find_places
from safellm.stores.settings import load_policy

_LAST: Final = 5000  # records of the trail's end that are looked at
_FENCE: Final = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE
)
_PYTHON: Final = frozenset({"python", "py", "python3", "pycon", "ipython"})
_IMPORT: Final = re.compile(r"^[ \t>.]*(?:from[ \t]+([A-Za-z_]\w*)|import[ \t]+([A-Za-z_]\w*))", re.MULTILINE)
_INSTALL: Final = re.compile(r"\b(?:pip3?|uv pip|uv|poetry|pdm|pipx)[ \t]+(?:install|add)[ \t]+([^\n;&|`]+)")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_TAKES_VALUE: Final = frozenset(
    {"-r", "-c", "-e", "-i", "-f", "-t", "--index-url", "--extra-index-url", "--python", "-p"}
)
# Where raw responses, streams and errors keep the HTTP response, and events the response that they are about.
_WITHIN: Final = ("http_response", "response", "_response", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """What is known of one answer.

    Attributes:
        recorded: The call stands in the trail of this user; without that only the last two attributes say something.
        call_id: Name of the call in the trail: every value that was restored in the answer was hidden under it or under an earlier
            call of its conversation.
        model: As the provider answered.
        hidden: Values that the provider didn't see, by type.
        restored: Values that came back.
        restored_from: Where each of them had come from, as far as this process knows: type, place in the request, who wrote it.
        changed: Other changes to the answer, by kind: links made text, characters removed, secrets taken out.
        refused: Reason code, if the answer was withheld.
        unknown_packages: Packages that the answer imports or installs, and that aren't here.
        unseen_urls: Addresses that didn't stand in what was sent; None when that isn't known.
    """

    recorded: bool = False
    call_id: str = ""
    model: str = ""
    hidden: Mapping[str, int] = field(default_factory=dict)
    restored: int = 0
    restored_from: tuple[Restored, ...] = ()
    changed: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    unknown_packages: tuple[str, ...] = ()
    unseen_urls: tuple[str, ...] | None = None

    def __str__(self) -> str:
        rows = [
            ("call", self.call_id or "not in the audit trail"),
            ("model", self.model),
            ("hidden", _counts(self.hidden)),
            ("restored", str(self.restored or "")),
            *(("from", _origin(one)) for one in self.restored_from),
            ("changed", _counts(self.changed)),
            ("refused", self.refused),
            ("unknown packages", ", ".join(self.unknown_packages)),
            ("addresses that weren't sent", ", ".join(self.unseen_urls or ())),
        ]
        # What a model wrote is shown so that it drives no terminal.
        return "\n".join(f"{name}: {ascii(value)[1:-1]}" for name, value in rows if value)


def _origin(one: Restored) -> str:
    place = f"{one.where or 'a place that is not known any more'}{f' ({one.source})' if one.source else ''}"
    return f"{one.count} {one.type}: {place}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def report(response: Any, *, sent: Any = None, packages: Collection[str] = ()) -> CallReport:
    """Return what was done to an answer, and which packages and addresses in it nobody knows here.

    Args:
        response: What an SDK's method returned, the list of a stream's chunks, a raw response, a stream after its end, an error,
            a dict, or a text.
        sent: What was sent: messages, a text, anything that holds texts. Without it addresses are compared with what the
            request held, where this process made it and it was the whole conversation.
        packages: More packages that are known, such as those of a lock file.

    Raises:
        ConfigurationError: the trail can't be read.
    """
    account = _account_of(response)
    plain = _plain(response)
    known_here: tuple[Any, Any] | None = None if account is None else (account.outcome, account.intent)
    outcome, intent = _records(_name_of(plain)) if known_here is None else known_here
    actions = dict(outcome.get("safellm.output.actions") or {})
    texts = list(_joined(plain) if isinstance(plain, (list, tuple)) else _texts(plain))
    known = {_folded(one) for one in packages}
    before = list(_texts(_plain(sent))) if sent is not None else None if account is None else account.urls
    return CallReport(
        recorded=bool(outcome),
        call_id=str(outcome.get("event.parent", "")),
        model=str(outcome.get("gen_ai.response.model", "")),
        hidden=_hidden(intent),
        restored=int(actions.pop("restored", 0)),
        restored_from=() if account is None else account.restored,
        changed=actions,
        refused=str(outcome.get("reason", "")),
        unknown_packages=tuple(dict.fromkeys(one for text in texts for one in unknown_packages(text, known))),
        unseen_urls=None if before is None else _unseen(texts, before),
    )


def _hidden(intent: Mapping[str, Any]) -> dict[str, int]:
    """Return what was found in a request, without what was sent as it is."""
    found, kept = intent.get("safellm.redaction.counts") or {}, intent.get("safellm.redaction.kept") or {}
    return {kind: count - kept.get(kind, 0) for kind, count in found.items() if count > kept.get(kind, 0)}


def _account_of(response: Any) -> Account | None:
    """Return what this process knows of a call: of a raw response, a stream or an error exactly, else by the provider's names."""
    if isinstance(response, (list, tuple)):
        return next((found for one in response if (found := _account_of(one)) is not None), None)
    if (held := _held(response)) is not None:
        return _account_of(held)
    inner = [getattr(response, name, None) for name in _WITHIN]
    for one in (response, *inner):
        extensions = getattr(one, "extensions", None)
        account = extensions.get(accounts.EXTENSION) if isinstance(extensions, dict) else None
        if isinstance(account, Account):
            return account
    named = (accounts.find(getattr(one, "_request_id", None), _name_of(one)) for one in (response, *inner))
    return next((one for one in named if one is not None), None)


def _held(response: Any) -> Any:
    """Return the stream of a helper that keeps it to itself, or the first message of a response that is made of messages."""
    for owner in type(response).__mro__:
        if (
            stream := vars(response).get(f"_{owner.__name__}__stream") if hasattr(response, "__dict__") else None
        ) is not None:
            return stream
    chunks = getattr(response, "_chunks", None)
    return chunks[0] if isinstance(chunks, list) and chunks else None


def _name_of(response: Any) -> str:
    """Return the provider's name of a response, in any SDK's form."""
    read = response.get if isinstance(response, Mapping) else partial(_read, response)
    names = (read(key) for key in ("id", "response_id", "responseId"))
    return next((one for one in names if one and isinstance(one, str)), "")


def _read(response: Any, name: str) -> Any:
    return None if isinstance(response, str) else getattr(response, name, None)


def _records(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the outcome of the call that was answered under a name, and its intent; empty where there is none."""
    if not name:
        return {}, {}
    environ = dict(os.environ)
    directory = audit_folder(load_policy(environ=environ).policy, find_places(environ).state)
    if not directory.is_dir():
        return {}, {}
    outcome: dict[str, Any] = {}
    for record in reversed(tail(directory, _LAST)):
        if not outcome and record.get("gen_ai.response.id") == name and record.get("event.name") == "call.outcome":
            outcome = record
        elif outcome and record.get("event.id") == outcome.get("event.parent"):
            return outcome, record
    return outcome, {}


def unknown_packages(text: str, known: Collection[str] = ()) -> Iterator[str]:
    """Yield what code blocks of a text import or install, and what is neither in the standard library nor installed here.

    Args:
        text: Markdown.
        known: More names, folded as package indexes fold them: lower case, hyphens.
    """
    for match in _FENCE.finditer(text):
        code = match[3]
        if match[2].lower() in _PYTHON:
            for name in _imports(code):
                if _folded(name) not in known and not _is_module(name):
                    yield name
        for install in _INSTALL.finditer(code):
            for name in _installed_names(install[1]):
                if _folded(name) not in known and not _is_distribution(name):
                    yield name


def _imports(code: str) -> Iterator[str]:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from (match[1] or match[2] for match in _IMPORT.finditer(code))
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _installed_names(words: str) -> Iterator[str]:
    skip = False
    for word in words.split():
        plain = word.strip("'\"")
        if skip or plain.startswith("-"):
            skip = not skip and plain in _TAKES_VALUE
            continue
        if "/" not in plain and (found := _NAME.match(plain)):
            yield found[0]


def _is_module(name: str) -> bool:
    if name in sys.stdlib_module_names or name == "__main__":
        return True
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _is_distribution(name: str) -> bool:
    try:
        metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _unseen(texts: Iterable[str], sent: Collection[str]) -> tuple[str, ...]:
    found = (match[0].rstrip(ENDS) for text in texts for match in URL.finditer(text))
    return tuple(dict.fromkeys(one for one in found if not any(one in text for text in sent)))


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump()
    dump = getattr(value, "to_dict", None)
    if callable(dump):
        return dump()
    raw = getattr(value, "http_response", None)
    if raw is None:
        return value
    try:
        return json.loads(raw.content)
    except (ValueError, RuntimeError):  # no JSON; or a stream, which can't be read twice
        return None


def _joined(chunks: Iterable[Any]) -> Iterator[str]:
    """Yield the texts of a stream's chunks: what stands at the same place of each is one text."""
    pieces: dict[tuple[str | int, ...], list[str]] = {}
    for chunk in chunks:
        for path, text in _places(chunk, ()):
            pieces.setdefault(path, []).append(text)
    yield from ("".join(one) for one in pieces.values())


def _places(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        # The parts of an answer are numbered in each event, wherever they stand in its list.
        numbers = tuple(value[key] for key in ("index", "output_index", "content_index") if key in value)
        for key, one in value.items():
            yield from _places(one, (*path, *numbers, key))
    elif isinstance(value, (list, tuple)):
        for place, one in enumerate(value):
            yield from _places(one, (*path, place))


def _texts(value: Any) -> Iterator[str]:
    return (text for _, text in _places(value, ()))
