"""Values that a program registers: found and hidden wherever they stand, in all clients of this process."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from safellm._core.detection.registered import RegisteredSecrets
from safellm._core.seen_texts import SeenTexts
from safellm.stores import marked

if TYPE_CHECKING:
    from safellm._core.detection.finding import Finding
    from safellm._core.detection.valueindex import ValueIndex

_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")  # as placeholders hold it


class Register:
    """What is registered now, for clients that were made before: the same for all of them.

    Attributes:
        secrets: Of `register_secret`; None while there are none.
        values: Of `register_values`, one index for each time that it was called.
    """

    __slots__ = ("_lock", "_state", "secrets", "values")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.secrets: RegisteredSecrets | None = None
        self.values: tuple[ValueIndex, ...] = ()
        self._state: tuple[RegisteredSecrets | None, tuple[ValueIndex, ...], SeenTexts] | None = None

    def __bool__(self) -> bool:
        return self.secrets is not None or bool(self.values)

    def find(self, text: str) -> tuple[Finding, ...]:
        """Return where registered values stand."""
        if not self:
            return ()
        state, secrets, values = self._state, self.secrets, self.values
        if state is None or state[0] is not secrets or state[1] is not values:
            finders = [*((secrets.find,) if secrets is not None else ()), *(index.find for index in values)]
            seen = SeenTexts(lambda one: tuple(found for find in finders for found in find(one)))
            self._state = state = (secrets, values, seen)
        return state[2].find(text)

    def add_secrets(self, values: Sequence[str]) -> None:
        """Add secrets; see `register_secret`."""
        with self._lock:
            self.secrets = (self.secrets or RegisteredSecrets()).with_values(values)

    def add_values(self, index: ValueIndex) -> None:
        """Add values; see `register_values`."""
        with self._lock:
            self.values = (*self.values, index)

    def clear(self) -> None:
        """Forget all. For tests: what one hides is not hidden for the next."""
        self.secrets, self.values, self._state = None, (), None


REGISTER = Register()


def register_secret(*values: str) -> None:
    """Have these texts found and hidden wherever they stand in a request: raw, JSON, URL, hex and base64 (promise P6).

    Applies to all clients of this process, at once.

    Args:
        values: Secrets of at least eight characters.

    Raises:
        ValueError: one is shorter; it would be found everywhere.
    """
    REGISTER.add_secrets(values)


def register_values(values: Iterable[str] | os.PathLike[str] | str, type: str = "CUSTOMER_ID") -> None:  # noqa: A002
    """Have these values found and hidden wherever they stand in a request: customer numbers, names, as many as a million.

    Applies to all clients of this process, at once. A value counts where no letter or digit touches it.

    Args:
        values: The values, of at least four characters each, or the path of a UTF-8 file with one in each line.
        type: What they are, as it stands in their placeholders: capitals, digits and underscores.

    Raises:
        ValueError: one is shorter, or the type has another form.
        OSError: the file can't be read.
    """
    from safellm._core.detection.valueindex import ValueIndex  # noqa: PLC0415 - few programs have so many values

    if _TYPE.fullmatch(type) is None:
        msg = "a type is made of up to 32 capitals, digits and underscores, as CUSTOMER_ID"
        raise ValueError(msg)
    if isinstance(values, str | os.PathLike):
        with open(values, encoding="utf-8") as lines:  # noqa: PTH123 - a path-like of any kind
            index = ValueIndex((value for line in lines if (value := line.strip())), type=type)
    else:
        index = ValueIndex(values, type=type)
    REGISTER.add_values(index)


def held_values() -> Sequence[ValueIndex]:
    """Return the values that belong to whom they were registered or marked for."""
    return (*REGISTER.values, *marked.values())
