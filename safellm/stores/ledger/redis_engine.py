"""An engine in Redis (or Valkey): one script for each operation (`redis_scripts`).

* All keys share one hash tag, so that a cluster keeps them on one node: `{prefix}:<generation>:...`.
* A server that may forget is refused: without an append-only file a restart gives every budget back (THREATS B.6), and one that
  evicts keys forgets accounts while it runs. `allow_volatile` takes such a server all the same.
* With `appendfsync everysec` a loss of power can lose the last second, and so can the death of the server while its disk is too
  busy to sync (it puts writes off then); a replica that takes over can lack the last moments. These are Redis's own promises, and
  no ledger on it can give more. `appendfsync always` loses nothing on one server.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from safellm.errors import ConfigurationError
from safellm.stores.ledger import redis_scripts
from safellm.stores.ledger.engine import (
    GONE,
    REARM,
    SEPARATOR,
    Ask,
    Counted,
    EngineFailure,
    Full,
    Move,
    Row,
    Standing,
    State,
    UsedTwice,
)
from safellm.stores.ledger.interface import Usage
from safellm.stores.ledger.marks import Mark
from safellm.stores.ledger.memory import in_order, usage_of
from safellm.stores.ledger.rowtext import from_text, to_text

_T = TypeVar("_T")

KEEP_CLOSED_S: Final = 3 * 86400  # a closed reservation, so that a late or second settle of it is recognised


class RedisEngine:
    """Implements `safellm.stores.ledger.engine.Engine`.

    Args:
        url: As redis-py takes it: `redis://`, `rediss://`, `unix://`; it may hold a password.
        address: The same for people.
        prefix: Of all keys.
        allow_volatile: Use a server that may forget.
        wait_s: How long one operation may take, in seconds.

    Raises:
        ConfigurationError: the package `redis` is missing, or the address is no good.
    """

    def __init__(
        self, url: str, *, address: str, prefix: str = "safellm", allow_volatile: bool = False, wait_s: float = 5.0
    ) -> None:
        self.address = address
        self._prefix = prefix
        self._allow_volatile = allow_volatile
        self._lock = threading.Lock()
        self._generation = ""
        self._checked = False
        try:
            import redis  # noqa: PLC0415 - an extra
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.retry import Retry  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError(
                "The budget ledger is in Redis, and the package for it is missing",
                remedy="Install it: pip install 'safellm[redis]'.",
            ) from None
        try:
            # No retries of its own: whether an operation may be repeated is known here.
            # Any: redis-py types its answers for bytes and for text at once.
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=wait_s, socket_connect_timeout=wait_s, retry=Retry(NoBackoff(), 0)
            )
        except ValueError:
            raise ConfigurationError(
                f"The address of the budget ledger, {address}, can't be understood",
                remedy="Write it as redis://host:6379/0, rediss://… or unix:///path?db=0.",
            ) from None
        self._scripts = {
            name: self._redis.register_script(text)
            for name, text in (
                ("open", redis_scripts.OPEN), ("reserve", redis_scripts.RESERVE), ("book", redis_scripts.BOOK)
            )
        }  # fmt: skip

    def open(self, day: int) -> Mark:
        """Make the ledger if there is none, note the day, and say what it is."""

        def work() -> Mark:
            if not self._checked:
                self._check_server()
                self._checked = True
            keys = [self._key("meta", generation=False)]
            generation, seen = self._scripts["open"](keys=keys, args=[secrets.token_hex(16), day])
            self._generation = generation.decode()
            return Mark(generation=self._generation, day=int(seen))

        return self._guarded(work)

    def reserve(self, generation: str, row: Row, asks: Sequence[Ask]) -> tuple[int, ...] | Full:
        """Hold on all accounts and return their windows, or on none.

        Raises:
            UsedTwice: the id was used before.
        """
        keys = [self._key("meta", generation=False), self._row(row.id), self._key("open"), self._key("accounts")]
        args: list[str | int] = [generation, row.nonce, to_text(row), row.created_us, row.id]
        for ask in asks:
            keys.append(self._account(ask.account))
            cost: str | int = "" if ask.cost_us is None else ask.cost_us
            args += [ask.account, ask.window, ask.amount, ask.ceiling, cost, ask.burst_us, ask.now_us]
        answer = self._guarded(lambda: self._scripts["reserve"](keys=keys, args=args))
        outcome = answer[0]
        if outcome == b"held":
            return _numbers(answer[1])
        if outcome == b"full":
            index, window, used, held = map(int, answer[1:])
            return Full(index=index, window=window, used=used, held=held)
        if outcome == b"twice":
            raise UsedTwice
        raise EngineFailure(GONE, remedy=REARM)

    def find(self, reservation_id: str) -> Row | None:
        """Return a reservation."""
        key = self._row(reservation_id)
        state, nonce, windows, text = self._guarded(
            lambda: self._redis.hmget(key, ["state", "nonce", "windows", "text"])
        )
        if state is None:
            return None
        return from_text(
            reservation_id, text, state=state.decode(), nonce=nonce.decode(), windows=_numbers(windows)
        )  # fmt: skip

    def book(self, generation: str, row: Row, moves: Sequence[Move], usage: Counted | None, *, was: State) -> bool:
        """Write `row`, its moves and its usage, if its state is still `was`; return whether it was."""
        day, name, added = "", "", [0] * 5
        if usage is not None:
            (day, *names), numbers = usage
            name, added = SEPARATOR.join([*names, ""]), list(numbers)
        keys = [self._key("meta", generation=False), self._row(row.id), self._key("open"),
                self._key(f"usage:{day}"), self._key("days")]  # fmt: skip
        args: list[str | int] = [generation, row.id, was, row.state, to_text(row), KEEP_CLOSED_S, day, name, *added]
        for move in moves:
            keys.append(self._account(move.account))
            args += [move.window, move.used, move.held, int(move.is_rate)]
        answer = self._guarded(lambda: self._scripts["book"](keys=keys, args=args))
        if answer == b"gone":
            raise EngineFailure(GONE, remedy=REARM)
        return bool(answer == b"done")

    def overdue(self, *, before_us: int, count: int) -> list[Row]:
        """Return the oldest holds that were made at `before_us` or earlier."""
        found: list[bytes] = self._guarded(
            lambda: self._redis.zrangebyscore(self._key("open"), "-inf", before_us, start=0, num=count)
        )
        rows = [self.find(one.decode()) for one in found]
        return [row for row in rows if row is not None]

    def forget(self) -> None:
        """Redis forgets by itself: a closed reservation has an end of its own."""

    def standings(self, accounts: Sequence[str]) -> list[Standing | None]:
        """Return where accounts stand; None where there is none."""

        def work() -> list[dict[bytes, bytes]]:
            with self._redis.pipeline(transaction=True) as pipe:
                for account in accounts:
                    pipe.hgetall(self._account(account))
                answer: list[dict[bytes, bytes]] = pipe.execute()
                return answer

        return [_standing(fields) for fields in self._guarded(work)] if accounts else []

    def accounts(self) -> list[str]:
        """Return the names of all accounts."""
        found: set[bytes] = self._guarded(lambda: self._redis.smembers(self._key("accounts")))
        return [one.decode() for one in found]

    def usage(self, since_day: str) -> list[Usage]:
        """Return what was billed, newest day first."""
        days: set[bytes] = self._guarded(lambda: self._redis.smembers(self._key("days")))
        rows = []
        for day in sorted(one.decode() for one in days if one.decode() >= since_day):
            counts: dict[str, list[int]] = {}
            fields: dict[bytes, bytes] = self._guarded(partial(self._redis.hgetall, self._key(f"usage:{day}")))
            for field, value in fields.items():
                name, _, number = field.decode().rpartition(SEPARATOR)
                counts.setdefault(name, [0] * 5)[int(number) - 1] = int(value)
            for name, numbers in counts.items():
                provider, model, operation = name.split(SEPARATOR)
                rows.append(usage_of((day, provider, model, operation), numbers))
        return in_order(rows)

    def renew(self) -> None:
        """Begin a new ledger beside the old one, whose keys stay."""
        fresh = {"generation": secrets.token_hex(16), "day": "0"}
        self._guarded(lambda: self._redis.hset(self._key("meta", generation=False), mapping=fresh))

    def close(self) -> None:
        """Let go of connections."""
        self._checked = False
        self._redis.close()

    def _check_server(self) -> None:
        if self._allow_volatile:
            return
        facts: dict[str, Any] = {}
        for section in ("persistence", "memory"):
            facts |= self._redis.info(section)
        if not facts.get("aof_enabled"):
            raise EngineFailure(
                "this Redis keeps no append-only file: after a restart all budgets would be whole again",
                remedy="Set appendonly yes on the server, or budget.allow_volatile in the policy.",
            )
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if facts.get("maxmemory") and policy != "noeviction":
            raise EngineFailure(
                f"this Redis drops keys when its memory is full ({policy}): it would forget what was spent",
                remedy="Set maxmemory-policy noeviction on the server, or budget.allow_volatile in the policy.",
            )

    def _guarded(self, work: Callable[[], _T]) -> _T:
        from redis import exceptions as errors  # noqa: PLC0415 - an extra

        try:
            return work()
        except (errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError):
            raise EngineFailure(
                "it refused the name or password", remedy="Check the user and password in its address."
            ) from None
        except errors.ReadOnlyError:
            raise EngineFailure(
                "this is a replica, which can't be written", remedy="Name the primary server.", is_outage=True
            ) from None
        except (errors.ConnectionError, errors.TimeoutError, OSError):
            raise EngineFailure(
                "it can't be reached", remedy="Check that it runs and that this machine may reach it.", is_outage=True
            ) from None
        except errors.RedisError as error:
            # Only the first word, an error code: the rest may hold names and values.
            code = str(error).partition(" ")[0]
            kind = code if code.isupper() and code.isalpha() else type(error).__name__
            raise EngineFailure(
                f"it answered {kind}", remedy="Look into the log of the server.", is_outage=kind in _OUTAGES
            ) from None

    def _key(self, name: str, *, generation: bool = True) -> str:
        return f"{{{self._prefix}}}:{self._generation}:{name}" if generation else f"{{{self._prefix}}}:{name}"

    def _row(self, reservation_id: str) -> str:
        return self._key(f"call:{reservation_id}")

    def _account(self, account: str) -> str:
        return self._key(f"account:{account}")


# The server is there and can't serve: loading its file, out of memory or disk, without its primary.
_OUTAGES: Final = frozenset(
    {"LOADING", "BUSY", "MISCONF", "OOM", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS"}
)


def _numbers(text: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(b",")) if text else ()


def _standing(fields: dict[bytes, bytes]) -> Standing | None:
    if b"t" in fields:
        return Standing(window=0, used=int(fields[b"t"]), held=0)
    window = fields.get(b"w")
    if window is None:
        return None
    return Standing(window=int(window), used=int(fields[window + b":u"]), held=int(fields[window + b":h"]))
