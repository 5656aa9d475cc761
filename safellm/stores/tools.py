"""What the tool gate asks of this process: rules and pins from code, counts of runs, people who approve, the disk."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import inspect
import os
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import reduce
from typing import Any, Final, Protocol, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from safellm._core.tools.gate import ToolRequest, both
from safellm._core.tools.rules import ToolRule
from safellm.stores.runs import Run, around

Approver: TypeAlias = "Callable[[ToolRequest], bool | str | Awaitable[bool | str]]"

_MOST: Final = 4096  # conversations and approvals that are remembered

_approver: ContextVar[Approver | None] = ContextVar("safellm_approver", default=None)


class Ruled(Protocol):
    """A tool of the program's code, with what it may do."""

    name: str
    rule: ToolRule


class ProcessToolbox:
    """Implements `safellm._core.tools.gate.Toolbox` for all clients of this process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ruled: WeakSet[Ruled] = WeakSet()  # as long as the program has them
        self._pins: dict[str, str] = {}
        self._counts: WeakKeyDictionary[Run, Counter[str]] = WeakKeyDictionary()
        self._untrusted: WeakSet[Run] = WeakSet()
        self._clean: OrderedDict[str, None] = OrderedDict()
        self._granted: OrderedDict[str, int] = OrderedDict()
        self.default_approver: Approver | None = None

    @property
    def has_rules(self) -> bool:
        """Whether the program's own code says anything of any tool."""
        return bool(self._ruled or self._pins)

    def add(self, tool: Ruled) -> None:
        """Have a rule of the program's code hold for a tool."""
        with self._lock:
            self._ruled.add(tool)

    def rule(self, name: str) -> ToolRule | None:
        """Return what the program's own code says of a tool, or None; of two functions of one name, both have to allow it."""
        with self._lock:
            rules = [one.rule for one in self._ruled if one.name == name]
        return reduce(both, rules) if rules else None

    def set_pins(self, pins: Mapping[str, str]) -> None:
        """Have definitions be what they are now; all of them or none."""
        with self._lock:
            self._pins = {**self._pins, **pins}

    def pins(self) -> Mapping[str, str]:
        """Return the digests that the program has pinned, by the tool's name."""
        return self._pins

    def admit(self, name: str, *, most: int | None, most_of_all: int | None) -> bool | None:
        """Count a call in each run around it; False if one has no room, None if there is no run."""
        runs = around()
        if not runs:
            return None
        with self._lock:
            counts = [self._counts.setdefault(run, Counter()) for run in runs]
            for count in counts:
                if (most is not None and count[name] >= most) or (
                    most_of_all is not None and count.total() >= most_of_all
                ):
                    return False
            for count in counts:
                count[name] += 1
        return True

    def resolve(self, root: str, path: str) -> str | None:
        """Return why a path leads out of its root on this machine, links followed, or None."""
        try:
            base = os.path.realpath(root)
            found = os.path.realpath(os.path.join(base, path))  # noqa: PTH118 - as `realpath` takes it
            inside = os.path.commonpath([base, found]) == base or os.path.normcase(found).startswith(
                os.path.normcase(base.rstrip(os.sep) + os.sep)
            )
        except (OSError, ValueError):
            return "the path can't be followed on this machine"
        return None if inside else "the path leads out of its folder"

    def lookup(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses that a name leads to on this machine; none where it leads nowhere."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return ()
        return tuple(dict.fromkeys(str(one[4][0]) for one in found))

    def approve(self, request: ToolRequest, seconds: int) -> bool:
        """Ask who was set to be asked. No, for nobody, an error, too late, or anything else than True or the digest."""
        approver = _approver.get() or self.default_approver
        if approver is None:
            return False
        answers: list[Any] = []
        asking = threading.Thread(
            target=copy_context().run, args=(_ask, approver, request, answers), name="safellm-approval", daemon=True
        )
        asking.start()
        asking.join(seconds)
        approved = bool(answers) and (answers[0] is True or answers[0] == request.digest)
        if approved:
            with self._lock:
                self._granted[request.digest] = self._granted.get(request.digest, 0) + 1
                self._granted.move_to_end(request.digest)
                while len(self._granted) > _MOST:
                    self._granted.popitem(last=False)
        return approved

    def redeem(self, digest: str) -> bool:
        """Return whether just this call was approved and not run yet; it counts as run now."""
        with self._lock:
            left = self._granted.get(digest, 0)
            if left > 1:
                self._granted[digest] = left - 1
            elif left:
                del self._granted[digest]
            return left > 0

    def is_clean(self, name: str) -> bool:
        """Return whether a conversation that the provider keeps is known to hold nothing of anybody else's."""
        return name in self._clean

    def note_clean(self, name: str) -> None:
        """Note that a conversation that the provider keeps holds nothing of anybody else's."""
        with self._lock:
            self._clean[name] = None
            while len(self._clean) > _MOST:
                self._clean.popitem(last=False)

    def is_run_untrusted(self) -> bool:
        """Return whether text of others came into a run around this task or thread."""
        with self._lock:
            return any(run in self._untrusted for run in around())

    def note_untrusted(self) -> None:
        """Note that text of others came into the runs around this task or thread."""
        with self._lock:
            self._untrusted.update(around())

    def reset(self) -> None:
        """Forget everything; for tests."""
        self.__init__()  # type: ignore[misc]  # the state is all that there is


TOOLBOX: Final = ProcessToolbox()


@contextmanager
def asking(approver: Approver) -> Iterator[None]:
    """Have this function asked in this task or thread, instead of the one of the process."""
    token = _approver.set(approver)
    try:
        yield
    finally:
        _approver.reset(token)


def _ask(approver: Approver, request: ToolRequest, answers: list[Any]) -> None:
    try:
        answer = approver(request)
        if inspect.isawaitable(answer):
            answer = asyncio.run(_awaited(answer))
    except BaseException:  # noqa: BLE001 - whatever goes wrong while somebody is asked is no
        return
    answers.append(answer)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
