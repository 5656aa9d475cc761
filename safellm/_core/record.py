"""One audit record: canonical bytes, sealed into a chain, and read back strictly.

* Bytes are RFC 8785 (JCS), restricted to text, integers, booleans, null, arrays and objects with ASCII keys. With
  ASCII keys JCS's order by UTF-16 code unit is plain string order; without floats its number rules are trivial.
* A number must fit a double exactly (RFC 7493 2.2), so nothing beyond 2^53-1. Nanoseconds since 1970 don't fit:
  `time_ns` is therefore a string of decimal digits.
* `hash` is the SHA-256 of the canonical record without `hash`; `prev` is the hash of the record before, 64 zeros at
  the start.
* A line ends with one LF and holds no other: JSON escapes it. JCS leaves U+007F to U+009F, U+2028 and U+2029 as they
  are: whoever shows a record on a terminal escapes them, whoever splits a file into lines splits bytes at LF only.

Where lines are kept and what order they must have is decided in `safellm.stores.journal` and `safellm._core.verify`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, NoReturn, cast

import orjson

from safellm._core.effects import JSON

VERSION: Final = 1
GENESIS: Final = "0" * 64
MAX_INT: Final = 2**53 - 1  # RFC 7493 2.2
MAX_DEPTH: Final = 16  # records are flat; a few counts and lists are nested, nothing needs more
MAX_LINE_BYTES: Final = 1024 * 1024  # one record is about 1 KB; far above it something else is being logged
CHAIN_NAMES: Final = frozenset({"v", "chain.uid", "seq", "prev", "hash", "time", "time_ns", "event.name", "event.id"})

_SET_HERE: Final = len(CHAIN_NAMES) - 1  # all but `hash`

_UID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_DIGITS = re.compile(r"0|[1-9][0-9]{0,19}")
_MAX_NUMBER_CHARACTERS = 17  # a sign and the 16 digits of 2^53

# The fast lane of `seal`. For the types in `_PLAIN`, ASCII keys and integers up to 2^53-1, orjson's sorted output is RFC 8785:
# it sorts by code point, which for ASCII is the order by UTF-16 code unit; it escapes what JCS escapes, in the same form; it
# refuses lone surrogates. A test compares it with an independent implementation. All other values take the slow lane.
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_NESTED: Final = frozenset({str, int, bool, type(None), dict, list})
_JCS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_JCS_LINE: Final = _JCS | orjson.OPT_APPEND_NEWLINE
# In a JSON text this can only be the member `hash` itself: inside a string the quotation marks would be escaped.
_HASH_MEMBER: Final = b',"hash":"%s"' % GENESIS.encode("ascii")


class BadRecord(ValueError):
    """A line is not a sealed record; the message says why, without quoting it.

    Attributes:
        seq: The number the line claims, if it could be read; nothing vouches for it.
    """

    def __init__(self, why: str, *, seq: int | None = None) -> None:
        self.seq = seq
        super().__init__(why)


class Sealed(NamedTuple):
    """A record as it is written: the line with its LF, and its hash."""

    line: bytes
    hash: str  # lower-case hex SHA-256


class Unsealed(NamedTuple):
    """A line whose bytes and hash were checked; its place in a chain was not.

    A tuple: a report makes one for each of a million records, in a third of the time of a frozen dataclass.
    """

    chain_uid: str
    seq: int
    prev: str
    hash: str
    event: str
    event_id: str
    fields: Mapping[str, JSON]  # the whole record, with the chain's own names


def canonical(value: JSON) -> bytes:
    """Return the RFC 8785 bytes of a value.

    Raises:
        ValueError: a float, an integer beyond 2^53-1, a key that isn't ASCII text, a lone surrogate, another type, or
            more than `MAX_DEPTH` levels. The message names the type, never the value.
    """
    return _utf8(_text(value, 0))


def rfc3339(time_ns: int) -> str:
    """Return UTC time with nanoseconds, such as `2026-11-22T10:00:00.000000001Z` (RFC 3339 5.6).

    Args:
        time_ns: Nanoseconds since 1970-01-01 UTC, >= 0.

    Raises:
        ValueError: negative, or after the year 9999.
    """
    if time_ns < 0:
        raise ValueError("a record's time can't be before 1970")
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest:09d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    """Return the text up to the second: the same for all records of one."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
    except (OverflowError, OSError, ValueError):
        raise ValueError("a record's time can't be after the year 9999") from None


def seal(  # noqa: PLR0913 - the parts of a record, each named
    *,
    chain_uid: str,
    seq: int,
    prev: str,
    event: str,
    fields: Mapping[str, JSON],
    time: str,
    time_ns: int,
    event_id: str,
) -> Sealed:
    """Return the record as one line, chained to `prev`.

    Args:
        chain_uid: 32 lower-case hex characters, the same in the whole chain.
        seq: Number in the chain, from 1 without gaps.
        prev: Hash of the record before, or `GENESIS`.
        event: Name, `area.what`.
        fields: Everything else; names of the chain itself (`CHAIN_NAMES`) are refused.
        time: RFC 3339 text of `time_ns`.
        time_ns: Nanoseconds since 1970-01-01 UTC; written as a decimal string.
        event_id: What `event.parent` of a later record refers to.

    Raises:
        ValueError: a value that can't be written exactly (`canonical`), a name of the chain in `fields`, or a line
            over `MAX_LINE_BYTES`.

    Source: THREATS L.1, L.6; RFC 8785 3.2.
    """
    if time_ns < 0:
        raise ValueError("a record's time can't be before 1970")
    record: dict[str, JSON] = {
        **fields,
        "v": VERSION,
        "chain.uid": chain_uid,
        "seq": seq,
        "prev": prev,
        "time": time,
        "time_ns": str(time_ns),
        "event.name": event,
        "event.id": event_id,
    }
    if len(record) != len(fields) + _SET_HERE or "hash" in fields:
        raise ValueError(f"fields of the chain itself can't be set: {', '.join(sorted(CHAIN_NAMES & fields.keys()))}")
    before, after = _around_hash_fast(record, fields) or _around_hash(record)
    digest = hashlib.sha256(b"%s,%s" % (before, after)).hexdigest()
    line = b'%s,"hash":"%s",%s\n' % (before, digest.encode("ascii"), after)
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"an audit record of {len(line)} bytes is over the limit of {MAX_LINE_BYTES}")
    return Sealed(line, digest)


def unseal(line: bytes) -> Unsealed:
    """Return what a line says, after checking that these are the bytes and the hash that `seal` would have written.

    Args:
        line: One line with its LF.

    Raises:
        BadRecord: anything else, whatever the bytes are (THREATS L.7).
    """
    if len(line) > MAX_LINE_BYTES:
        raise BadRecord(f"longer than {MAX_LINE_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise BadRecord("the line is not finished")
    fast = _unseal_fast(line)
    if fast is not None:
        return fast
    record = _parse(line[:-1])
    claimed = record.get("seq")
    seq = claimed if type(claimed) is int and 0 < claimed <= MAX_INT else None
    try:
        return _checked(line, record)
    except BadRecord as error:
        raise BadRecord(str(error), seq=seq) from None


def _checked(line: bytes, record: dict[str, JSON]) -> Unsealed:
    missing = CHAIN_NAMES - record.keys()
    if missing:
        raise BadRecord(f"without {', '.join(sorted(missing))}")
    if record["v"] != VERSION or type(record["v"]) is not int:
        raise BadRecord("of a version that is not known")
    seq, event, event_id, time = record["seq"], record["event.name"], record["event.id"], record["time"]
    if type(seq) is not int or not 0 < seq <= MAX_INT:
        raise BadRecord("seq is not a number of a record")
    if not (isinstance(event, str) and isinstance(event_id, str) and isinstance(time, str)):
        raise BadRecord("event.name, event.id and time must be text")
    uid = _matching(record, "chain.uid", _UID)
    prev, digest = _matching(record, "prev", _HASH), _matching(record, "hash", _HASH)
    _matching(record, "time_ns", _DIGITS)
    try:
        before, after = _around_hash({name: value for name, value in record.items() if name != "hash"})
    except ValueError as error:
        raise BadRecord(str(error)) from None
    if line != b'%s,"hash":"%s",%s\n' % (before, digest.encode("ascii"), after):
        raise BadRecord("not written in the canonical form")
    if hashlib.sha256(before + b"," + after).hexdigest() != digest:
        raise BadRecord("changed after it was written: its hash doesn't fit")
    return Unsealed(uid, seq, prev, digest, event, event_id, record)


def _matching(record: Mapping[str, JSON], name: str, pattern: re.Pattern[str]) -> str:
    value = record[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadRecord(f"{name} has the wrong form")
    return value


def _parse(data: bytes) -> dict[str, JSON]:
    try:
        # Decoded here: `json.loads` would guess UTF-16 and UTF-32 from bytes.
        value = _DECODER.decode(data.decode("utf-8"))
    except BadRecord:
        raise
    except RecursionError:
        raise BadRecord("nested too deeply") from None
    except ValueError:  # UnicodeDecodeError, JSONDecodeError; their messages may quote the line
        raise BadRecord("not a JSON text in UTF-8") from None
    if not isinstance(value, dict):
        raise BadRecord("not a JSON object")
    return cast("dict[str, JSON]", value)


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadRecord("a key stands twice in one object")
    return value


def _small_int(digits: str) -> int:
    # Before int(): a long number costs quadratic time, and past 4300 digits Python refuses it (CVE-2020-10735).
    if len(digits) > _MAX_NUMBER_CHARACTERS:
        raise BadRecord("a number is beyond 2^53-1")
    return int(digits)


def _no_float(_: str) -> NoReturn:
    raise BadRecord("a number is not an integer")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_small_int, parse_float=_no_float, parse_constant=_no_float
)


def _unseal_fast(line: bytes) -> Unsealed | None:
    """Return what a good line of ASCII says, in a third of the time; None where the slow lane must decide, and say why.

    What orjson forgives (a key that stands twice) can't pass: the line is what would be written from the value.
    """
    try:
        record = orjson.loads(line)
        if not _is_plain_ascii(line, record) or orjson.dumps(record, option=_JCS_LINE) != line:
            return None
        digest, seq, prev, uid = record["hash"], record["seq"], record["prev"], record["chain.uid"]
        event, event_id = record["event.name"], record["event.id"]
        member = b',"hash":"%s",' % digest.encode("ascii")
        place = line.find(member)
        good = (
            place > 0
            and hashlib.sha256(b"%s,%s" % (line[:place], line[place + len(member) : -1])).hexdigest() == digest
            and type(record["v"]) is int
            and record["v"] == VERSION
            and type(seq) is int
            and 0 < seq <= MAX_INT
            and _is_uid(uid)
            and _HASH.fullmatch(prev)
            and _DIGITS.fullmatch(record["time_ns"])
            and type(event) is str
            and type(event_id) is str
            and type(record["time"]) is str
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return Unsealed(uid, seq, prev, digest, event, event_id, record) if good else None


def _is_plain_ascii(line: bytes, record: dict[str, JSON]) -> bool:
    kinds = set(map(type, record.values()))
    if not line.isascii() or not kinds <= _NESTED:
        return False
    if kinds <= _PLAIN:
        return True
    for value in record.values():
        kind = type(value)
        if kind is dict:
            if not _PLAIN.issuperset(map(type, cast("dict[str, JSON]", value).values())):
                return False
        elif kind is list and not _PLAIN.issuperset(map(type, cast("list[JSON]", value))):
            return False
    return True


@lru_cache(maxsize=8)
def _is_uid(text: str) -> bool:
    return _UID.fullmatch(text) is not None


def _around_hash_fast(record: dict[str, JSON], fields: Mapping[str, JSON]) -> tuple[bytes, bytes] | None:
    """Return what `_around_hash` returns, in a fifth of its time; None where `fields` hold what it can't vouch for."""
    for value in [one for one in fields.values() if type(one) not in _PLAIN]:
        if not _is_flat(value):
            return None
    try:
        record["hash"] = GENESIS
        text = orjson.dumps(record, option=_JCS)
    except TypeError:  # a key that isn't text, an integer beyond 2^53-1, a lone surrogate: the slow lane says what
        return None
    finally:
        record.pop("hash", None)
    if not text.isascii() and not _are_keys(fields):
        return None
    place = text.find(_HASH_MEMBER)
    return text[:place], text[place + len(_HASH_MEMBER) + 1 :]


def _is_flat(value: Any) -> bool:  # `cast` would cost as much as the look itself
    kind = type(value)
    if kind is dict:
        # A member `hash` of its own could stand before the record's.
        return _PLAIN.issuperset(map(type, value.values())) and "hash" not in value
    return kind is list and _PLAIN.issuperset(map(type, value))


def _are_keys(fields: Mapping[str, JSON]) -> bool:
    """Return whether all keys are ASCII, also those one level down; they are text, or `orjson` would have refused them."""
    inner = [value for value in fields.values() if type(value) is dict]
    return all("".join(one).isascii() for one in (fields, *inner))


def _around_hash(body: Mapping[str, JSON]) -> tuple[bytes, bytes]:
    """Return the canonical text before and after the place of `hash`; neither is empty, by `chain.uid` and `prev`."""
    try:
        names = sorted(body)
    except TypeError:
        raise ValueError("a key of an audit record must be ASCII text") from None
    before = [f"{_key(name)}:{_text(body[name], 1)}" for name in names if name < "hash"]
    after = [f"{_key(name)}:{_text(body[name], 1)}" for name in names if name > "hash"]
    return _utf8("{" + ",".join(before)), _utf8(",".join(after) + "}")


def _text(value: object, depth: int) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring(cast("str", value))
    if kind is int:
        return _integer(cast("int", value))
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    return _rare(value, depth)


def _rare(value: object, depth: int) -> str:
    if depth >= MAX_DEPTH:
        raise ValueError(f"an audit record can't be nested deeper than {MAX_DEPTH}")
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_text(item, depth + 1) for item in value]) + "]"
    if isinstance(value, Mapping):
        keys = {_key(key): key for key in value}
        # Sorted by the key itself: its quoted form sorts differently around the quotation mark.
        return "{" + ",".join([f"{quoted}:{_text(value[key], depth + 1)}" for quoted, key in _sorted(keys)]) + "}"
    if isinstance(value, str):  # an enum of texts
        return encode_basestring(str.__str__(value))
    if isinstance(value, int):  # an enum of integers
        return _integer(int(value))
    raise ValueError(
        f"a {type(value).__name__} can't stand in an audit record: only text, integers, booleans, null, lists, objects"
    )


def _sorted(keys: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(keys.items(), key=lambda pair: pair[1])


def _integer(value: int) -> str:
    if -MAX_INT <= value <= MAX_INT:
        return str(value)
    raise ValueError("an integer beyond 2^53-1 can't stand in an audit record; write it as text (RFC 7493 2.2)")


def _key(key: object) -> str:
    if not isinstance(key, str) or not key.isascii():
        raise ValueError("a key of an audit record must be ASCII text")
    return encode_basestring(key)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # it would carry the text along
        raise ValueError("a lone surrogate can't stand in an audit record") from None
