"""What `safellm guard new` writes: for each kind a class that does something, and the contract that it keeps."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Final

PROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "@package@"
version = "0.1.0"
description = "A @kind@ for safellm"
requires-python = ">=3.11"
dependencies = ["safellm"]

[project.optional-dependencies]
test = ["pytest"]

# Installing this package changes nothing yet: the policy has to name it, @enabled@.
[project.entry-points."safellm.@kind@s"]
@name@ = "@module@:@class_name@"

[tool.hatch.build.targets.wheel]
include = ["@module@.py"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_GUARD: Final = '''\
"""A guard for safellm: enabled by @enabled@ in the policy."""

from __future__ import annotations

from safellm.plugins import AnswerView, Refuse, RequestView


class @class_name@:
    """Refuses calls that hold one of some words.

    Args:
        words: What is refused; from [plugin_settings.@name@] in the policy.
    """

    blocking = False  # it only computes; leave this out for one that waits for a model or a file

    def __init__(self, words: list[str] | None = None) -> None:
        self._words = [word.lower() for word in words or ["forbidden"]]

    def on_request(self, request: RequestView) -> Refuse | None:
        """Look at a request before it is sent."""
        return self._look([one.text for one in request.texts])

    def on_answer(self, answer: AnswerView) -> Refuse | None:
        """Look at an answer. Take this method out if you need it not: with it, streams are held until they are whole."""
        return self._look([one.text for one in answer.texts])

    def _look(self, texts: list[str]) -> Refuse | None:
        for text in texts:
            if any(word in text.lower() for word in self._words):
                # Say why, but never quote the text: errors and records must not hold it.
                return Refuse("The text holds a word that isn't allowed here", "Write it in other words.")
        return None
'''

_DETECTOR: Final = '''\
"""A detector for safellm: enabled by @enabled@ in the policy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from safellm.plugins import Found

# Python's `re` can take very long on some patterns and texts: keep it simple, without nested repetitions.
_NUMBER = re.compile(r"\\bC-[0-9]{4,8}\\b")


class @class_name@:
    """Finds numbers such as C-4711. They are hidden from the provider, and come back in the answer."""

    blocking = False  # it only computes; leave this out for one that waits for a model or a file

    def find(self, text: str) -> Iterator[Found]:
        """Return where they stand."""
        for match in _NUMBER.finditer(text):
            yield Found(match.start(), match.end(), "@type@")
'''

_GUARD_TEST: Final = '''\
"""The contract of guards: any text, any order, no leak, and an error stops the call."""

from safellm.testing.plugin_contract import GuardContract

from @module@ import @class_name@


class Test@class_name@(GuardContract):
    refuses = ("This is forbidden.",)
    passes = ("This is fine.",)
    refuses_answers = ("I say something forbidden.",)

    def make(self) -> @class_name@:
        return @class_name@()
'''

_DETECTOR_TEST: Final = '''\
"""The contract of detectors: any text, any order, no leak, and an error stops the call."""

from safellm.testing.plugin_contract import DetectorContract

from @module@ import @class_name@


class Test@class_name@(DetectorContract):
    finds = {"Customer C-4711 writes.": ["C-4711"]}
    passes = ("Vitamin C-3.", "ABC-47110")

    def make(self) -> @class_name@:
        return @class_name@()
'''

_SINK: Final = '''\
"""A sink for safellm: enabled by @enabled@ in the policy."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class @class_name@:
    """Appends each event to a file, as one line of JSON. Put the client of your system in its place.

    Args:
        path: The file; from [plugin_settings.@name@] in the policy.
    """

    safellm_api = 1

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    def emit(self, event: str, fields: Mapping[str, Any], *, time_ns: int) -> None:
        """Take one event. An error stops the call, where audit.mode is "required"."""
        line = json.dumps({"time_ns": time_ns, "event": event, **fields})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\\n")
'''

_LEDGER: Final = '''\
"""A ledger for safellm: enabled by @enabled@ in the policy."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from safellm.plugins import Document

_TABLE = "CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER, data BLOB)"


class @class_name@:
    """Keeps the ledger's document in an SQLite file. Put your database in its place: whatever can "change it if it is still so".

    Args:
        path: The file; from [plugin_settings.@name@] in the policy.
    """

    safellm_api = 1

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self) -> Document | None:
        """Return the newest document."""
        with closing(self._open()) as base:
            row = base.execute("SELECT data, version FROM ledger").fetchone()
        return None if row is None else Document(data=row[0], version=str(row[1]))

    def write(self, data: bytes, version: str | None) -> bool:
        """Replace the document of this version; False if somebody was faster."""
        with closing(self._open()) as base, base:
            if version is None:
                return base.execute("INSERT OR IGNORE INTO ledger VALUES (1, 1, ?)", (data,)).rowcount == 1
            change = "UPDATE ledger SET data = ?, version = version + 1 WHERE version = ?"
            return base.execute(change, (data, int(version))).rowcount == 1

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, timeout=10)
        base.execute(_TABLE)
        return base
'''

_VAULT: Final = '''\
"""A vault for safellm: enabled by @enabled@ in the policy."""

from __future__ import annotations


class @class_name@:
    """Keeps keys in this process, and forgets them: put the client of your secret store in the place of the dictionary.

    A text is a key with the addresses that it may go to. Hand it on as it is; never log it.
    """

    safellm_api = 1

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """Return the text of this name, or None."""
        return self._texts.get(name)

    def set(self, name: str, text: str) -> None:
        """Store or replace it. One that only reads raises an error."""
        self._texts[name] = text

    def names(self) -> list[str]:
        """Return all names."""
        return list(self._texts)

    def remove(self, name: str) -> None:
        """Remove it, if it is there."""
        self._texts.pop(name, None)
'''

_PROVIDER: Final = '''\
"""A provider for safellm: enabled by @enabled@ in the policy, used by OpenAI(profile="@name@")."""

from __future__ import annotations

from safellm.plugins import Provider


def @class_name@(region: str = "eu") -> Provider:
    """Return a server of OpenAI's dialect. Its key goes to these addresses and nowhere else.

    Args:
        region: From [plugin_settings.@name@] in the policy.
    """
    return Provider(
        title="@class_name@",
        base_url=f"https://{region}.llm.example/v1",
        variable="@type@_API_KEY",
        header="",  # "X-Api-Key", if the server looks there instead of at "Authorization: Bearer"
    )
'''

_SINK_TEST: Final = '''\
"""The contract of sinks: every event, in order, from several threads; an error stops the call."""

import json
from pathlib import Path

import pytest
from safellm.testing.store_contract import SinkContract

from @module@ import @class_name@


class Test@class_name@(SinkContract):
    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "events.jsonl"

    def make(self) -> @class_name@:
        return @class_name@(str(self.path))

    def taken(self) -> list[dict]:
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]
'''

_LEDGER_TEST: Final = '''\
"""The contract of ledgers: nothing is spent twice, whoever writes at once and whatever breaks in the middle."""

from pathlib import Path

import pytest
from safellm.testing.store_contract import LedgerStoreContract

from @module@ import @class_name@


class Test@class_name@(LedgerStoreContract):
    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ledger.sqlite3"

    def open_store(self) -> @class_name@:
        return @class_name@(str(self.path))
'''

_VAULT_TEST: Final = '''\
"""The contract of vaults: what was stored comes back as it was, and nothing of it stands in an error."""

import pytest
from safellm.testing.store_contract import VaultStoreContract

from @module@ import @class_name@


class Test@class_name@(VaultStoreContract):
    @pytest.fixture(autouse=True)
    def store(self) -> None:
        self.one = @class_name@()

    def open_store(self) -> @class_name@:
        return self.one  # one that keeps its texts elsewhere is opened anew each time
'''

_PROVIDER_TEST: Final = '''\
"""The contract of providers: the key goes to its addresses, in its header, and nowhere else."""

from safellm.plugins import Provider
from safellm.testing.store_contract import ProviderContract

from @module@ import @class_name@


class Test@class_name@(ProviderContract):
    def make(self) -> Provider:
        return @class_name@()
'''

MODULES: Final = {
    "guard": _GUARD,
    "detector": _DETECTOR,
    "sink": _SINK,
    "ledger": _LEDGER,
    "vault": _VAULT,
    "provider": _PROVIDER,
}
TESTS: Final = {
    "guard": _GUARD_TEST,
    "detector": _DETECTOR_TEST,
    "sink": _SINK_TEST,
    "ledger": _LEDGER_TEST,
    "vault": _VAULT_TEST,
    "provider": _PROVIDER_TEST,
}
