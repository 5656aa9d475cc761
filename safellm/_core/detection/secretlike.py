"""Checks that tell a secret from a sample, a name, a path or an expression."""

# ruff: noqa: PLR2004 - thresholds are explained by the sentence of their function
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import string

from safellm._core.detection.context import Spans
from safellm._core.detection.randomness import changes, entropy, is_random, is_wordy, wordlikeness
from safellm._core.detection.samples import is_sample
from safellm._core.detection.tokens import cue, is_code, is_uuid

_CALL = 48  # characters before a value that is handed to a call
_BADGE = 24  # characters between the name of a picture and its token
_NAMES = ("secret", "credential", "password")  # a value that holds such a word is what it names
# Words that name things in code rather than being one's password.
_NAMED = (
    "admin", "arg", "base", "block", "bytes", "button", "column", "config", "crypt", "data", "default", "field", "form", "group",
    "hash", "input", "label", "length", "level", "line", "name", "option", "param", "pass", "require", "sample", "secret", "step",
    "string", "test", "text", "token", "type", "user", "valid", "value", "version", "word",
)  # fmt: skip
_EXPRESSION = frozenset("()[]{}<>;`|\\")
_CODE = ("http://", "https://", "os.", "process.", "self.", "env.", "this.", "//")
_LABELS = (
    "пароль", "паролі", "ключ", "токен", "секрет", "密码", "密碼", "密钥", "密鑰", "口令", "令牌",
    "パスワード", "暗証番号", "パスフレーズ", "비밀번호", "암호", "κωδικός", "συνθηματικό", "كلمةالمرور",
    "كلمة المرور", "סיסמה", "סיסמא", "पासवर्ड", "รหัสผ่าน", "гасло",
)  # fmt: skip
_ENDS = ".,;:!?)]}\"'`\\"
_VERSION = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.+~-:")
_DIGEST = 96  # characters of a digest before a value
_DIGEST_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789+/-_"
_DIGEST_MARKS = frozenset(":=-")
_SAS_REACH = 512  # characters of a query before and behind its signature
_WRITING = frozenset("wdcaupxy")  # write, delete, create, add, update, process, delete a version, delete for ever


def not_sample(text: str, start: int, end: int) -> Spans:
    """Accept a key with a provider's prefix unless it is a sample."""
    return () if is_sample(text[start:end]) or _is_in_digest(text, start) else ((start, end),)


def _is_in_digest(text: str, start: int) -> bool:
    """Return whether a value stands in a digest, as lock files and lists of installed files have: `sha256=...`."""
    before = text[max(0, start - _DIGEST) : start].lower()
    head = before.rfind("sha")
    mark = before[head + 6 : head + 7] if head >= 0 else ""
    return mark in _DIGEST_MARKS and not before[head + 7 :].strip(_DIGEST_SIGNS)


def looks_random(text: str, start: int, end: int) -> Spans:
    """Accept a value that is neither a sample nor made of words."""
    value = text[start:end]
    return () if is_sample(value) or is_wordy(value) or _is_in_digest(text, start) else ((start, end),)


def mixed_token(text: str, start: int, end: int) -> Spans:
    """Accept a random value that has digits as well as letters."""
    value = text[start:end]
    return ((start, end),) if _is_mixed(value) and not is_sample(value) and not is_wordy(value) else ()


def mixed_case_token(text: str, start: int, end: int) -> Spans:
    """Accept a value with digits, capitals and small letters all through."""
    value = text[start:end]
    holds = is_random(value) and not value.isupper() and not value.islower() and changes(value) >= 0.3
    return ((start, end),) if holds and not is_sample(value) else ()


def storage_key(text: str, start: int, end: int) -> Spans:
    """Accept Base64 of random bytes that stands alone: not a line of a longer block, nor a digest with its name before it."""
    value = text[start:end]
    digest = text[max(0, start - 8) : start].lower().endswith(("sha512-", "sha384-", "sha256-", "h1:"))
    if digest or is_sample(value) or changes(value) < 0.35 or cue(text, start) < 0:
        return ()
    return ((start, end),)


def assigned_secret(text: str, start: int, end: int) -> Spans:
    """Accept the value of a setting with a secret's name: random enough, and no expression, path, number or sentence."""
    start, end = _trim(text, start, end)
    value = text[start:end]
    if (
        len(value) < 10
        or _is_reference(text, start, end)
        or is_sample(value)
        or is_wordy(value)
        or _is_cut(text, start, end)
    ):
        return ()
    if cue(text, start) < 0 or is_code(value) or _is_argument(value) or "==" in value.rstrip("=") or _is_name(value):
        return ()
    if "badge" in text[max(0, start - _BADGE) : start]:  # public by design
        return ()
    return ((start, end),) if (_is_mixed(value) or _is_drawn(value)) and entropy(value) >= 2.8 else ()


def assigned_password(text: str, start: int, end: int) -> Spans:
    """Accept the value of a setting named like a password: chosen by people, so shorter and closer to words."""
    start, end = _trim(text, start, end)
    field = text.find("&", start, end)
    if field >= 0 and text[field + 1 : end].partition("=")[0].isidentifier() and "=" in text[field:end]:
        end = field  # the next field of a form
    value = text[start:end]
    if len(value) < 6 or _is_reference(text, start, end) or is_sample(value) or _is_compared(text, start):
        return ()
    if value.count(":") > 1 and value.replace(":", "").isalpha():  # names of fields
        return ()
    kinds = _kinds(value)
    mixed = kinds == 2 and ((any(map(str.isdigit, value)) and not is_wordy(value)) or _is_weak(text, start, end))
    return ((start, end),) if kinds >= 3 or mixed or _is_scrambled(value) else ()


def password_below(text: str, start: int, end: int) -> Spans:
    """Accept the only word of the line below a password's name if it has digits and can't be a name, a path or a heading."""
    value = text[start:end]
    if not any(map(str.isdigit, value)) or value[0] in "#-=/.|" or is_wordy(value):
        return ()
    return assigned_password(text, start, end)


def app_password(text: str, start: int, end: int) -> Spans:
    """Accept groups of letters that are drawn at random, and no words."""
    likeness = wordlikeness(text[start:end].replace(" ", ""))
    return ((start, end),) if likeness is not None and likeness < 4.8 and len(set(text[start:end])) > 5 else ()


def card_code(text: str, start: int, end: int) -> Spans:
    """Accept digits that stand for themselves: no year, no decimal, no version."""
    if end - start > 3 and text[start : start + 2] in {"19", "20"}:
        return ()
    return () if text[end : end + 1] in {"-", "/", ".", ","} and text[end + 1 : end + 2].isdigit() else ((start, end),)


def assigned_key(text: str, start: int, end: int) -> Spans:
    """Accept the value of anything called key, if it is long and clearly random."""
    value = text[start:end]
    if is_sample(value) or is_wordy(value) or is_code(value) or _is_reference(text, start, end) or cue(text, start) < 0:
        return ()
    if is_uuid(value) and "primary" in text[max(0, start - 20) : start].lower():  # of a table
        return ()
    digits = sum(map(str.isdigit, value))
    return ((start, end),) if digits >= 3 and len(value) - digits >= 3 and entropy(value) >= 3.2 else ()


def header_token(text: str, start: int, end: int) -> Spans:
    """Accept the credentials of an Authorization header unless they are a sample or a variable."""
    value = text[start:end]
    if is_sample(value) or _is_reference(text, start, end) or (is_wordy(value) and "=" not in value):
        return ()
    return () if value.isalpha() and len(value) < 24 else ((start, end),)  # a name in code


def url_password(text: str, start: int, end: int) -> Spans:
    """Accept the password part of a URL unless it is a sample or a variable."""
    value = text[start:end].lstrip(":")
    if not value or (value[0] in "$%{<[" and not value[1:2].isdigit()):
        return ()
    return () if is_sample(value) else ((start, end),)


def _is_mixed(value: str) -> bool:
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while end > start and text[end - 1] in ",;)]}.\"'\\":
        end -= 1
    return start, end


def _is_cut(text: str, start: int, end: int) -> bool:
    """Return whether a value ends in dots that stand for the rest of it, and what is left is too little to use."""
    return text[end : end + 3] == "..." and end - start < 40


def _is_reference(text: str, start: int, end: int) -> bool:
    """Return whether code follows here instead of a value: a call, an index, a variable, a path, an address."""
    value = text[start:end]
    if value.startswith("::") or (value.startswith(":") and text[start - 1 : start] == ":"):  # a name behind its scope
        return True
    value = value.strip(":")
    if not value or value[0] in "$%&*@.~#" or value.startswith(_CODE):
        return True
    quoted = text[start - 1 : start] in {'"', "'"}
    if not quoted and (not _EXPRESSION.isdisjoint(value) or text[end : end + 1] in {"(", "[", "{"}):
        return True
    names = value.split(".")
    if not quoted and (len(names) > 1 or "_" in value) and all(map(str.isidentifier, names)) and is_wordy(names[-1]):
        return True
    return not quoted and _is_chain(value.split("="))


def _is_chain(parts: list[str]) -> bool:
    """Return whether a value is a row of assignments, as in minified code: `t.first=t.second=t.third`."""
    names = [part.split(".") for part in parts if part]
    dotted = sum(len(name) > 1 for name in names)
    return dotted > 1 and dotted * 2 >= len(names) and all(part.isidentifier() for name in names for part in name)


def _is_name(value: str) -> bool:
    """Return whether a value is the name of a secret, as in `kXxh3Secrets` or `MyTestDatabaseSecret-a1b2c3`."""
    lower = value.lower()
    return any(word in lower for word in _NAMES) and sum(map(str.isdigit, value)) * 4 <= len(value)


def _is_argument(value: str) -> bool:
    """Return whether a value is a named argument of a call: `status_code=400`."""
    name, _, number = value.partition("=")
    return number.isdigit() and name.isidentifier() and is_wordy(name)


def _is_call(value: str) -> bool:
    """Return whether a value is code that calls, indexes or is typed: `Optional[bytes]`, `entry[1`, `Prompt.ask(`."""
    head = value[: min((at for at in (value.find("("), value.find("[")) if at >= 0), default=0)]
    names = head.split(".")
    if not head or not all(map(str.isidentifier, names)):
        return False
    plain = head.rstrip(string.digits)
    wordy = is_wordy(head) if plain == head else plain.isalpha() and plain.islower()
    return len(names) > 1 or head.count("_") > 1 or wordy


def _is_version(value: str) -> bool:
    """Return whether a value is a package's version: `1:4.13+dfsg1-1`."""
    head = value.partition(":")[2] if value[:1].isdigit() and value[1:2] == ":" else value
    first, dot, rest = head.partition(".")
    return first.isdigit() and bool(dot) and rest[:1].isdigit() and not set(rest) - _VERSION


def said_password(text: str, start: int, end: int) -> Spans:
    """Accept the word after `password is` or a switch: of three kinds of characters, or with digits and no word."""
    while end > start and text[end - 1] in _ENDS and text[end - 1] != "!":
        end -= 1
    value = text[start:end]
    if (
        len(value) < 6
        or value[0] in "$%&~<{[(-/\\."
        or value.startswith(_CODE)
        or is_sample(value)
        or _is_address(value)
        or _is_call(value)
        or _is_version(value)
    ):
        return ()
    kinds = _kinds(value)
    mixed = kinds == 2 and any(map(str.isdigit, value)) and is_random(value)
    return ((start, end),) if kinds >= 3 or mixed or _is_scrambled(value) else ()


def labelled_password(text: str, start: int, end: int) -> Spans:
    """Accept the same after a label in another script."""
    before = text[max(0, start - 24) : start].lower()
    at = max(before.rfind(label) for label in _LABELS)
    if text[start : start + 5] == "PKCS#":  # a standard
        return ()
    # Nothing in letters of ASCII stands between: "key ring GNOME: component X" names no key.
    return said_password(text, start, end) if at >= 0 and not any(map(_is_ascii_letter, before[at:])) else ()


def _is_ascii_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def basic_credentials(text: str, start: int, end: int) -> Spans:
    """Accept Base64 of `user:password` (RFC 7617)."""
    value = text[start:end]
    try:
        plain = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ()
    user, mark, password = plain.partition(":")
    holds = user and mark and len(password) >= 4 and plain.isprintable() and not is_sample(password)
    return ((start, end),) if holds else ()


def sas_write(text: str, start: int, end: int) -> Spans:
    """Accept a shared access signature that lets its holder change or delete something."""
    return _signature(text, start, end, writes=True)


def sas_read(text: str, start: int, end: int) -> Spans:
    """Accept a shared access signature that lets its holder read or list, or that doesn't say its rights."""
    return _signature(text, start, end, writes=False)


def _signature(text: str, start: int, end: int, *, writes: bool) -> Spans:
    before, after = text[max(0, start - _SAS_REACH) : start], text[end : end + _SAS_REACH]
    query = "&" + before[max(map(before.rfind, "?\n \"'")) + 1 :] + after.split("\n", 1)[0].split(" ", 1)[0]
    _, mark, rights = query.lower().partition("&sp=")
    letters = rights.split("&", 1)[0] if mark else ""
    value = text[start:end]
    return ((start, end),) if bool(set(letters) & _WRITING) is writes and not is_sample(value) else ()


def _kinds(value: str) -> int:
    return sum((
        any(map(str.islower, value)), any(map(str.isupper, value)), any(map(str.isdigit, value)),
        any(not character.isalnum() and character not in "_-./" for character in value),
    ))  # fmt: skip


def _is_compared(text: str, start: int) -> bool:
    """Return whether a value is handed to a method of a password: `password.startswith("argon2:")`."""
    before = text[max(0, start - _CALL) : start].rstrip("\"'` \t")
    owner, dot, method = before[:-1].rpartition(".")
    return (
        before.endswith("(")
        and bool(dot)
        and method.isidentifier()
        and not any(part in method.lower() for part in ("pass", "pwd", "pw"))
        and owner[-1:].isalnum()
    )


def _is_weak(text: str, start: int, end: int) -> bool:
    """Return whether a word with a number behind it is a password as people choose them, and no name in code: `hunter2`."""
    word = text[start:end].rstrip(string.digits)
    lower, after = word.lower(), text[end : end + 2]
    if len(word) < 4 or not word.isalpha() or not 1 <= end - start - len(word) <= 6 or after[:1] in {"(", "[", "{"}:
        return False
    return not (after[:1] == "." and after[1:].isalnum()) and not any(part in lower for part in _NAMED)


def _is_scrambled(value: str) -> bool:
    """Return whether letters alone are drawn at random: capitals all through, and pairs that no language has."""
    likeness = wordlikeness(value) if value.isalpha() and len(value) >= 10 and changes(value) >= 0.4 else None
    return likeness is not None and likeness < 4.6


def _is_drawn(value: str) -> bool:
    """Return whether letters alone are drawn at random, of one case or of both: 20 or more, in pairs that no language has."""
    likeness = wordlikeness(value) if value.isalpha() and len(value) >= 20 else None
    one_case = value.islower() or value.isupper()
    return likeness is not None and likeness < 4.6 and (one_case or changes(value) >= 0.3)


def _is_address(value: str) -> bool:
    """Return whether a value is a mail address or a host rather than a password."""
    _, at, domain = value.rpartition("@")
    return bool(at) and "." in domain and domain.replace(".", "").replace("-", "").isalnum()
