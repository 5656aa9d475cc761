"""The answer of a store that was asked not to wait, and would have to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations


class Busy(Exception):
    """Nothing was done: the same call with `wait=True`, in a thread that may block, does it.

    For event loops. A store that is asked with `wait=False` answers within about a millisecond or raises this: because
    another thread or process holds a lock, the disk has to be waited for, or housekeeping is due. A store may always raise it.
    """
