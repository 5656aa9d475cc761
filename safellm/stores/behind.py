"""Work that follows behind calls: done by a daemon thread a moment after it was asked for, however often it was.

* The moment is bounded: the work begins at most `delay_s` after the first request for it, unless the machine is starved.
* Without requests the thread ends by itself after a few seconds; nothing runs while nothing happens.
* The rest is done when the interpreter ends. A thread that can't be started means that the work is done at once.
* After a fork the child begins without a thread; its owner decides what of the inherited work is the child's.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final

DELAY_S: Final = 0.1
_LINGER_S: Final = 3.0
_GLANCE_S: Final = 0.005
THREAD_PREFIX: Final = "safellm-behind"

_LIVE: weakref.WeakSet[Behind] = weakref.WeakSet()


class Behind:
    """Runs `work` soon after `soon()`.

    Args:
        work: What to do; it may block. It keeps its own errors: one that escapes is lost.
        delay_s: How long requests are gathered.
        name: For people who look at threads.
        patience_s: How long the end of the interpreter waits for the work; the rest is left. None: as long as it takes.

    Attributes:
        due: The work is asked for already: whoever asks on the path of calls looks here first.
    """

    def __init__(
        self, work: Callable[[], None], *, name: str, delay_s: float = DELAY_S, patience_s: float | None = None
    ) -> None:
        # Not bound to the owner: a thread that lingers must not keep a store alive that nobody else has.
        self._work = weakref.WeakMethod(work) if hasattr(work, "__self__") else lambda: work
        self._delay_s = delay_s
        self._patience_s = patience_s
        self._name = f"{THREAD_PREFIX}-{name}"
        self.due = False
        self._ended = False
        self._working = False
        self._lock = threading.Lock()
        self._asked, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        _LIVE.add(self)

    def soon(self) -> None:
        """Ask for the work. Costs nothing while it is asked for already."""
        if not self.due:
            self.due = True
            self._wake()

    def close(self, *, wait: bool = True) -> None:
        """End the thread without doing the work; `soon` begins another one.

        Args:
            wait: Return only when the thread has ended.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            stop, self._stop = self._stop, threading.Event()
            self.due = False
            stop.set()
            self._asked.set()
            self._asked = threading.Event()
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()

    def after_fork(self) -> None:
        """Forget the parent's thread and locks."""
        self.due = self._working = False
        self._lock = threading.Lock()
        self._asked, self._stop = threading.Event(), threading.Event()
        self._thread = None

    def end(self) -> None:
        """Do the work that is due; from now on it is done at once: threads end with the interpreter."""
        self._ended = True
        due = self.due
        if self._patience_s is not None:
            # Only the thread does it: what hangs there must not hang the program.
            until = time.monotonic() + self._patience_s
            while (self.due or self._working) and self._thread is not None and time.monotonic() < until:
                time.sleep(_GLANCE_S)
            self.close(wait=False)
            return
        self.close()
        if due:
            self._do()

    def _wake(self) -> None:
        with self._lock:
            if self._ended:
                thread = None
            elif self._thread is not None:
                self._asked.set()
                return
            else:
                self._asked.set()
                arguments = (weakref.ref(self), self._asked, self._stop, self._delay_s)
                thread = threading.Thread(target=_run, args=arguments, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is ending
                    thread = None
                self._thread = thread
        if thread is None:
            self.due = False
            if self._patience_s is None:
                self._do()

    def _do(self) -> None:
        work = self._work()
        if work is not None:
            self._working = True
            with suppress(Exception):  # it keeps its own errors; the thread must live
                work()
            self._working = False

    def _turn(self) -> None:
        """Do the work in the thread. First the mark goes: what is asked for from now on needs another turn."""
        self._working = True  # before the mark goes: the end looks at both
        self.due = False
        self._do()

    def _retire(self, stop: threading.Event) -> bool:
        """Let the thread end, unless it was asked for something at the last moment."""
        with self._lock:
            if self.due:
                return False
            if self._stop is stop:
                self._thread = None
            return True


def _run(owner: weakref.ref[Behind], asked: threading.Event, stop: threading.Event, delay_s: float) -> None:
    while True:
        was_asked = asked.wait(_LINGER_S)
        if stop.is_set():
            return
        if was_asked:
            asked.clear()
            if stop.wait(delay_s):
                return
        behind = owner()
        if behind is None:
            return
        if was_asked:
            behind._turn()  # noqa: SLF001 - the module's own class
        elif behind._retire(stop):  # noqa: SLF001 - the same
            return
        del behind  # not held while waiting


@atexit.register
def _end_all() -> None:
    # Those that only deliver come last: the others may still have something for them.
    for behind in sorted(_LIVE, key=lambda one: one._patience_s is not None):  # noqa: SLF001 - the module's own class
        behind.end()


def _after_fork() -> None:
    for behind in list(_LIVE):
        behind.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
