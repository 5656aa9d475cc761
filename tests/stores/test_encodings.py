"""The packed vocabularies are the ones that tiktoken pins, need no network, and never hold up an event loop."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
import tiktoken_ext.openai_public as public

import safellm
from safellm.errors import ConfigurationError
from safellm.stores import encodings
from safellm.stores.encodings import DIGESTS, Encodings, load
from safellm.stores.waiting import Busy

FOLDER = Path(encodings.__file__).parent
_OFFLINE = """
import socket
def refuse(*_, **__):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import safellm, sys
print(int(safellm.count_tokens("hello world", model="gpt-4o")), int(safellm.count_tokens("hello world", model="gpt-4")))
print("requests" in sys.modules)
"""


@pytest.mark.parametrize("name", DIGESTS)
def test_a_packed_vocabulary_is_the_one_that_tiktoken_pins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written as tiktoken's own file, it has the SHA-256 that tiktoken demands; pattern and marks are tiktoken's too."""
    made = load(name)
    pinned: dict[str, str] = {}
    monkeypatch.setattr(
        public,
        "load_tiktoken_bpe",
        lambda url, expected_hash: pinned.update(hash=expected_hash) or made._mergeable_ranks,
    )
    parts = getattr(public, name)()
    ranks = sorted(made._mergeable_ranks.items(), key=lambda item: item[1])
    written = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks)
    assert hashlib.sha256(written).hexdigest() == pinned["hash"]
    assert (made._pat_str, made._special_tokens) == (parts["pat_str"], parts["special_tokens"])


def test_counting_asks_for_no_network(tmp_path: Path) -> None:
    """With every way to connect closed and no cache of tiktoken, both vocabularies count."""
    environ = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "SAFELLM_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _OFFLINE], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["2", "2", "False"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"no zlib", zlib.compress(b"something else")])
def test_a_damaged_vocabulary_is_refused(damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that isn't the one that was shipped counts nothing; the bound decides alone then."""
    (tmp_path / "o200k_base.bin").write_bytes(damage)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(ConfigurationError, match="missing or damaged"):
        load("o200k_base")
    assert Encodings().count("o200k_base", ("hello",)) is None


def test_marks_in_a_text_are_text() -> None:
    """What looks like a special token of the vocabulary is counted as it is written."""
    assert safellm.count_tokens("<|endoftext|>", model="gpt-4o") > 1


def test_an_event_loop_is_not_held_up() -> None:
    """Without waiting: nothing is loaded, and no long text is counted."""
    counter = Encodings()
    with pytest.raises(Busy):
        counter.count("o200k_base", ("hello",), wait=False)
    assert counter.count("o200k_base", ("hello",)) == 1
    assert counter.count("o200k_base", ("hello",), wait=False) == 1
    long = "one word after another " * 2000
    with pytest.raises(Busy):
        counter.count("o200k_base", (long,), wait=False)
    counted = counter.count("o200k_base", (long,))
    assert counter.count("o200k_base", (long,), wait=False) == counted, "it is remembered by its hash"


def test_loading_goes_on_in_a_thread() -> None:
    """`ready` begins to load and returns; it is loaded once, however often it is asked."""
    counter = Encodings()
    before = threading.active_count()
    assert not counter.ready("cl100k_base")
    counter.ready("cl100k_base")
    assert threading.active_count() <= before + 1
    counter._loading["cl100k_base"].join(30)
    assert counter.ready("cl100k_base")
    assert counter.count("cl100k_base", ("hello world",), wait=False) == 2


@pytest.mark.parametrize("character", [" ", "\n", "\t\n", "a", "\u3000"])
def test_very_long_runs_are_counted(character: str) -> None:
    """Blanks over which tiktoken's expressions give up are counted by their bytes; nothing breaks, nothing is too small."""
    counter = Encodings()
    text = character * (400_000 // len(character))
    for encoding in DIGESTS:
        counted = counter.count(encoding, (text,))
        assert counted is not None
        assert 0 < counted <= len(text.encode())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not of this platform")
def test_a_child_of_a_loading_process_counts() -> None:
    """A fork while another thread loads leaves no lock that nobody opens; a module cut off by it means bounds in the child."""
    script = (
        "import os, sys\n"
        "from safellm.stores.encodings import shared\n"
        "shared().ready('o200k_base')\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    shared().ready('o200k_base'); os._exit(0 if shared().count('o200k_base', ('hello',)) in (1, None) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], timeout=60, check=False).returncode == 0


def test_count_tokens_says_whether_it_is_exact() -> None:
    """Exact for a text and a plain chat of a public tokenizer; otherwise an upper bound, marked."""
    messages = [{"role": "user", "content": "hi"}]
    text, chat = safellm.count_tokens("hello world", model="gpt-4o"), safellm.count_tokens(messages, model="gpt-4o")
    assert (int(text), text.exact, int(chat), chat.exact) == (2, True, 8, True)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    request = safellm.count_tokens({"messages": messages, "tools": tools}, model="gpt-4o")
    assert request > chat
    assert not request.exact
    bound = safellm.count_tokens("h\u00e9llo", model="claude-sonnet-4-5")
    assert (int(bound), bound.exact) == (6, False)
    other = safellm.count_tokens(messages, model="claude-sonnet-4-5")
    assert other > chat
    assert not other.exact
