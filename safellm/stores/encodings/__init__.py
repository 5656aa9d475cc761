"""Vocabularies of public tokenizers, packed in this package, and exact counts by `tiktoken`. Nothing is ever downloaded.

A vocabulary takes about 0.2 s of CPU and 70 MB of memory, once for each process: it is loaded when a count is first needed, in a
thread where an event loop is waiting. What a text came to is remembered by its hash, so a chat that sends its history again is
counted by its new messages.

The files are written by `tools/pack_encodings.py`; the vocabularies are OpenAI's, published with tiktoken (MIT licence).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from safellm._core.tokens import byte_length
from safellm.errors import ConfigurationError
from safellm.stores.waiting import Busy

if TYPE_CHECKING:
    from tiktoken import Encoding

# SHA-256 of the unpacked files.
DIGESTS: Final = {
    "o200k_base": "ffd2b6f645ac4ba9f8a03b2d0a453cfd20193a08725bc52c2403ce07ebf18dfe",
    "cl100k_base": "562c957c17f53811181c29fb8b65727ff5766d255a67ea2450b56680d3eb2cd7",
}
_AT_ONCE = 8192  # characters that are counted on an event loop: about a millisecond
_SHORT = 64  # characters below which counting is cheaper than remembering
_REMEMBERED = 8192  # texts
_MOST = 32 * 1024 * 1024  # characters of one request: about three seconds in a thread
# tiktoken's regular expressions track back over blanks, and give up on very long runs of them.
_LONGEST_BLANK = re.compile(r"\s{20000}")


class Encodings:
    """Counts tokens; one for each process (`shared()`). A `safellm._core.call.Counter`."""

    def __init__(self) -> None:
        self._loaded: dict[str, Encoding | None] = {}
        self._loading: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._one = threading.Lock()
        self._memo: OrderedDict[bytes, int] = OrderedDict()

    def ready(self, encoding: str) -> bool:
        """Return whether an encoding is loaded; if not, begin to load it in a thread."""
        if encoding in self._loaded:
            return True
        with self._lock:
            if encoding not in self._loading:
                thread = threading.Thread(target=self._load, args=(encoding,), name="safellm-encoding", daemon=True)
                self._loading[encoding] = thread
                thread.start()
        return False

    def count(self, encoding: str, texts: Sequence[str], *, wait: bool = True) -> int | None:
        """Return how many tokens the texts have, each by itself; None if they can't be counted here.

        Args:
            encoding: `o200k_base` or `cl100k_base`.
            texts: Texts; marks such as `<|endoftext|>` in them are text like any other.
            wait: Load the encoding if need be, and count texts of any size.

        Raises:
            Busy: with `wait=False`, if the encoding isn't loaded or there is much to count.
        """
        if not wait and encoding not in self._loaded:
            raise Busy
        loaded = self._encoding(encoding)
        if loaded is None or sum(map(len, texts)) > _MOST:
            return None
        total, fresh = 0, 0
        unseen: list[tuple[bytes, str]] = []
        for text in texts:
            if len(text) < _SHORT:
                total += _count(loaded, text)
                continue
            key = hashlib.blake2b(
                text.encode("utf-8", "surrogatepass"), digest_size=16, person=encoding.encode()
            ).digest()
            known = self._memo.get(key)
            if known is None:
                unseen.append((key, text))
                fresh += len(text)
            else:
                total += known
        if not wait and fresh > _AT_ONCE:
            raise Busy
        for key, text in unseen:
            number = _count(loaded, text)
            total += number
            self._memo[key] = number
        while len(self._memo) > _REMEMBERED:
            try:
                self._memo.popitem(last=False)
            except KeyError:  # another thread was faster
                break
        return total

    def _encoding(self, name: str) -> Encoding | None:
        loading = self._loading.get(name)
        if loading is not None and name not in self._loaded:
            loading.join()
        if name not in self._loaded:
            self._load(name)
        return self._loaded.get(name)

    def _load(self, name: str) -> None:
        with self._one:  # a vocabulary takes a tenth of a second of all of a core: once for all who wait for it
            if name in self._loaded:
                return
            try:
                found: Encoding | None = load(name)
            except (ImportError, AttributeError, ConfigurationError):
                # The bound by bytes decides alone then. A fork amid an import leaves half a module in the child.
                found = None
            self._loaded[name] = found


def load(name: str) -> Encoding:
    """Return an encoding, from the file in this package.

    Raises:
        ConfigurationError: there is no such file, or it is not the one that was shipped.
        ImportError: tiktoken is not installed.
    """
    from importlib.resources import files  # noqa: PLC0415 - the same

    from tiktoken import Encoding  # noqa: PLC0415 - only programs that come near a limit need it

    digest = DIGESTS.get(name)
    try:
        data = zlib.decompress(files(__package__).joinpath(f"{name}.bin").read_bytes())
    except (OSError, zlib.error):
        data = b""
    if digest is None or hashlib.sha256(data).hexdigest() != digest:
        raise ConfigurationError(
            f"The vocabulary {name} of safellm is missing or damaged", remedy="Install safellm again."
        )
    head = int.from_bytes(data[:4], "big")
    described = json.loads(data[4 : 4 + head])
    lengths = data[4 + head : 4 + head + described["tokens"]]
    ranks: dict[bytes, int] = {}
    at = 4 + head + len(lengths)
    for rank, length in enumerate(lengths):
        ranks[data[at : at + length]] = rank
        at += length
    return Encoding(
        name=name, pat_str=described["pat_str"], mergeable_ranks=ranks, special_tokens=described["special_tokens"]
    )


def shared() -> Encodings:
    """Return the counter of this process."""
    return _shared[0]


def _count(encoding: Encoding, text: str) -> int:
    if len(text) > _AT_ONCE and _LONGEST_BLANK.search(text):
        return byte_length(text)  # never fewer than there are
    return len(encoding.encode_ordinary(text))


def _renew() -> None:
    # A thread of the parent may hold the lock, or be loading: neither is in the child.
    loaded = _shared[0]._loaded  # noqa: SLF001 - the same module
    _shared[0] = Encodings()
    _shared[0]._loaded.update(loaded)  # noqa: SLF001 - the same


_shared = [Encodings()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
