"""A text that must not be shown: wrapped where it enters, unwrapped in one place, late."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Holds a secret text without a useful `repr`, `str`, `format`, pickle, hash or ordering (THREATS K.4)."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text. Call it at the last moment and keep the result in no attribute."""
        return self._value

    def hint(self) -> str:
        """Return a masked form that is safe to show: the last four characters of a long secret, else dots."""
        return f"…{self._value[-4:]}" if len(self._value) >= 20 else "…"  # noqa: PLR2004 - short ones show nothing

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret has no use here and invites dictionaries of secrets

    def __reduce__(self) -> NoReturn:
        msg = "a Secret can't be pickled or copied out of the process"
        raise TypeError(msg)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self
