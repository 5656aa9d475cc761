"""Output of a stream, counted as it flows: when it is more than what is held, the stream is to end.

A provider that is given a ceiling stops there by itself; the meter is for one that doesn't. So it must not stop a stream that the
provider would not have stopped: tokens are never more than bytes, so nothing is counted before that many bytes came; then a
tokenizer counts stretch by stretch, and what the seams between stretches may add is allowed for. Where the model's own tokenizer
is not public, o200k is the yardstick and twice the ceiling is allowed.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from safellm._core.call import Counter
from safellm._core.tokens import O200K, byte_length

Channel = tuple[str | int, ...]

_SLACK: Final = 8  # tokens: ends of turns, and names of tools that are not text
_PER_SEAM: Final = 2  # tokens that one more seam can add
# Bytes that are counted again without seams before a stream is ended; about three milliseconds.
_RECOUNTED: Final = 1 << 15
_AT_ONCE: Final = 8192  # bytes that are counted for one piece, at most
_STRETCH: Final = (16, 256)  # bytes that are counted at once, at least
_LONGEST_TOKEN: Final = 32  # bytes a token, over a whole answer; more is not written by any model


@dataclass(slots=True, kw_only=True)
class Meter:
    """Counts one stream.

    Attributes:
        limit: Tokens of output that are held.
        encoding: Of the model; None where it is not public.
        counter: Counts exactly.
        tokens: Counted so far; text that came since is not in it.
    """

    limit: int
    encoding: str | None
    counter: Counter
    tokens: int = 0
    _bytes: int = 0
    _pending: int = 0  # bytes that are not counted yet
    _seams: int = 0
    _fresh: dict[Channel, list[str]] = field(default_factory=dict)
    _texts: dict[Channel, list[str]] = field(default_factory=dict)

    def add(self, channel: Channel, text: str) -> bool:
        """Take a piece of text; return whether the stream has more tokens than are held."""
        size = byte_length(text)
        self._bytes += size
        self._pending += size
        self._fresh.setdefault(channel, []).append(text)
        allowed = self.limit * (1 if self.encoding is not None else 2) + _SLACK
        shortest, longest = _STRETCH
        if self.tokens + self._pending <= allowed or self._pending < min(longest, max(shortest, self.limit // 8)):
            return False
        encoding = self.encoding or O200K
        if not self.counter.ready(encoding):  # it is being loaded, in a thread; the event loop goes on
            return self._bytes > _LONGEST_TOKEN * allowed
        stretches = self._take()
        counted = self.counter.count(encoding, stretches)
        if counted is None:
            return self._bytes > _LONGEST_TOKEN * allowed
        self.tokens += counted
        self._seams += len(stretches)
        if self.tokens > allowed and self._bytes <= _RECOUNTED:
            self.tokens = self.counter.count(encoding, tuple(self.texts().values())) or self.tokens
            self._seams = 0
        return self.tokens > allowed + self._seams * _PER_SEAM

    def texts(self) -> dict[Channel, str]:
        """Return what came on each channel."""
        self._keep()
        return {channel: "".join(pieces) for channel, pieces in self._texts.items()}

    def _take(self) -> tuple[str, ...]:
        """Return what is counted next: of a long backlog a part, so that no event loop waits for more than a millisecond."""
        taken: list[str] = []
        size = 0
        for channel in list(self._fresh):
            if size >= _AT_ONCE:
                break
            pieces = self._fresh.pop(channel)
            number = 0
            while number < len(pieces) and size < _AT_ONCE:
                size += byte_length(pieces[number])
                number += 1
            taken.append("".join(pieces[:number]))
            self._texts.setdefault(channel, []).append(taken[-1])
            if number < len(pieces):
                self._fresh[channel] = pieces[number:]
        self._pending -= size
        return tuple(taken)

    def _keep(self) -> None:
        for channel, pieces in self._fresh.items():
            self._texts.setdefault(channel, []).append("".join(pieces))
        self._fresh.clear()
        self._pending = 0
