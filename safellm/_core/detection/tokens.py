"""Tokens that nothing but their randomness and the words around them give away.

Three grades, from what stands alone to what needs a name:

* random letters of both cases with digits, 20 or more: found anywhere but where identifiers live (paths, object ids, addresses);
* any other random run, 12 or more: found where a word for a credential or the name of a service stands before it;
* hexadecimal and UUIDs: the same, and the word must be near, because digests and ids look alike.

The word that is nearest decides: `commit`, `sha256`, `etag` and their like say no.
"""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# ruff: noqa: PLR2004 - thresholds are explained by the sentence of their function
# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import string
from functools import cache
from itertools import pairwise

from safellm._core.detection.context import Spans
from safellm._core.detection.packaged import package_files
from safellm._core.detection.randomness import changes, entropy, has_humps, humps, is_random, is_wordy
from safellm._core.detection.samples import is_sample

_REACH = 64  # characters before a token in which its name may stand
_NEAR_WORDS = 8
_HEX = "0123456789abcdefABCDEF"
_DIGESTS = frozenset(["md5", "sha1", "sha256", "sha384", "sha512"])
_DIGEST_HEADS = frozenset(["sha256-", "sha384-", "sha512-"])  # subresource integrity, lock files
_DIGEST_MARKS = (
    "sha1:",
    "sha1-",
    "sha256:",
    "sha256=",
    "sha256-",
    "sha384-",
    "sha512:",
    "sha512-",
    "md5:",
    "h1:",
    "/go.mod",
    "commit/",
)
_DRAWING = frozenset("mlhvcsqtaz")  # commands of SVG paths
_TERMS = (
    "sha1",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "aes128",
    "aes192",
    "aes256",
    "x509",
    "utf8",
    "utf16",
    "base64",
    "pkcs1",
    "pkcs7",
    "pkcs8",
    "pkcs12",
    "ed25519",
    "x25519",
    "poly1305",
    "md5",
    "oauth2",
    "curve25519",
    "pbkdf2",
    "int32",
    "int64",
    "float32",
    "uint8",
)
_LONGEST = 2048  # characters of a token; longer runs are data
_LONGEST_ID = 32  # characters of an object's id behind its prefix, where it has letters of both cases
_LEAST_CHANGES = 0.15  # as `is_random` wants of a value with digits
_LINE = 200  # characters of the longest line of a block of Base64
_NAME_SIGNS = string.ascii_letters + string.digits + "+-#. \r\n"  # of a language, behind a fence
_BASE64 = string.ascii_letters + string.digits + "+/="
_FRAME = " \t\r\"',\\"  # what stands around the lines of a block in code
_PUBLIC_KEYS = ("AAAAC3NzaC1", "AAAAB3NzaC1", "AAAAE2VjZHNh", "AAAAGnNr")  # of SSH
_BADGE = 24  # characters between the name of a picture and its token
_HOSTS_OF_CODE = ("github.com/", "gitlab.com/", "bitbucket.org/")
_URL = 256  # characters of an address before a token
_TOKEN = frozenset(string.ascii_letters + string.digits + "_-+/.~=")
_OPENERS = frozenset(" \t\r\n\"'`=:([{|,>;")
_CLOSERS = frozenset(" \t\r\n\"'`)]}|,<;.:!?&\\")
_TEXT = frozenset(string.printable.encode())
_SPLIT = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalnum()})

_SECRET_WORDS = frozenset(
    "key keys apikey apikeys token tokens secret secrets password passwords passwd pass pwd passphrase passwort credential "
    "credentials creds cred bearer auth authorization authtoken accesstoken api pat jwt oauth oauth2 privatekey secretkey "
    "accesskey clientsecret webhook license sid session sessionid cookie dsn signature webhooksecret pin otp seed salt "
    "aqaaabaaa schluessel schlüssel clave contraseña senha chave jeton clé clef mot wachtwoord sleutel segreto chiave пароль "
    "ключ токен 密钥 密码 令牌 口令 パスワード キー 비밀번호 키".split()
)
_SECRET_ENDINGS = (
    "token",
    "secret",
    "apikey",
    "password",
    "passwd",
    "credentials",
    "accesskey",
    "authkey",
    "api",
    "密钥",
    "密码",
    "令牌",
)
_OTHER_WORDS = frozenset(
    "sha sha1 sha224 sha256 sha384 sha512 md5 hash hashes digest digests checksum checksums integrity commit commits revision "
    "rev etag fingerprint fingerprints uuid guid ids address addresses tx txid txn transaction block version versions build "
    "image images file files filename path node sum tree parent parents object blob ref refs branch merge index trace "
    "traceparent span request requestid correlation layer layers manifest public pubkey csrf xsrf font resolved svn cid ipfs "
    "nonce data base64 src href url uri link pin_memory cell outputid output thumbprint serial subject issuer certificate "
    "cert ami snapshot volume subnet vpc instance container job pipeline deployment artifact package crc crc32 blake2b blake2 "
    "xxhash murmur ssdeep sri challenge verifier message msg call conversation thread response completion cmpl chatcmpl run "
    "step event isbn doi arxiv video playlist tracking order invoice iv tag h1 h2 foreign partition sort cache color colour "
    "wallet bitcoin btc ethereum eth uses from checkout foreignkey kid sitekey changeset signaturevalue digestvalue "
    "signedinfo dsig".split()
)
# What "key" means after these is no secret; and "credential id" names an entry, not its content.
_OPEN_KEYS = frozenset(
    "public foreign partition sort cache object s3 row routing lookup translation idempotency bucket composite unique hash "
    "map host i18n react csrf xsrf site".split()
)
_ENTRIES = frozenset(["credential", "credentials", "secrets"])
_ID_WORDS = frozenset(
    ["id", "uid", "oid", "name", "user", "username", "org", "project", "account", "tenant", "workspace"]
)


def lone_token(text: str, start: int, end: int) -> Spans:
    """Accept a token by its randomness and the words before it."""
    start, end = _whole(text, start, end)
    value = text[start:end]
    if not 12 <= len(value) <= _LONGEST or text[max(0, start - 8) : start].lower().endswith(_DIGEST_MARKS):
        return ()
    if not value.strip(_HEX) or is_uuid(value):
        return _hexadecimal(text, start, end, value)
    before = text[start - 1 : start]
    if (
        (before and before not in _OPENERS and before not in "/.")
        or _goes_on(text, end)
        or changes(value) < _LEAST_CHANGES
    ):
        return ()
    if _is_public(text, start, value) or _is_version(value) or not is_random(value) or is_code(value):
        return ()
    named = cue(text, start) or _cue_after(text, end)
    if _in_url(text, start):
        named = named if named == 2 and before == "=" else -1
    compound = any(mark in value for mark in "/.+~")
    if not named and (
        compound or before in {"/", "."} or not _stands_alone(value)
    ):  # most tokens: what follows costs more
        return ()
    if named < 0 or _is_encoded_text(value) or is_sample(value) or _is_data(text, start, end, is_named=named == 2):
        return ()
    if named:
        holds = (not compound or _is_dense(value)) and (named == 2 or _is_thorough(value))
        return ((start, end, 0.85),) if holds else ()
    return () if _is_line(text, start, end) else ((start, end, 0.6),)


def _hexadecimal(text: str, start: int, end: int, value: str) -> Spans:
    if len(value) < 20 or text[start - 1 : start] in {"#", "@", "/", "x"} or _goes_on(text, end):
        return ()
    if _in_url(text, start) or (len(value) == 40 and value.isupper()):  # the fingerprint of a key
        return ()
    if is_uuid(value) and "primary" in text[max(0, start - 20) : start].lower():  # the key of a table's row
        return ()
    named = cue(text, start) or _cue_after(text, end)
    if named <= 0 or (named == 1 and any(host in text[max(0, start - _REACH) : start] for host in _HOSTS_OF_CODE)):
        return ()
    return ((start, end, 0.8),) if entropy(value) >= 2.8 and not is_sample(value) else ()


def cue(text: str, start: int) -> int:
    """Return what the nearest telling word before a token names: 2 a credential, 1 a service, -1 something else; 0 without one."""
    before = _without_fence(text[max(0, start - _REACH) : start])
    line = before.rfind("\n", 0, max(0, len(before.rstrip()) - 1))
    line = before.rfind("\n", 0, line) if line > 0 and len(before) - line < 24 else line
    words = _words(before[line + 1 :] if line >= 0 else before)
    verdict, after = 0, ""
    for word, previous in zip(reversed(words[-_NEAR_WORDS:]), (*reversed(words[-_NEAR_WORDS:-1]), ""), strict=False):
        if word == "name" and not after:  # of a key, a vault, a secret
            return -1
        if word in _OTHER_WORDS or (word in {"key", "keys", "token"} and previous in _OPEN_KEYS):
            return -1
        if (word in _ENTRIES and after == "id") or (word == "signature" and after == "value"):
            return -1
        if word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS):
            return 2
        if word in _services():
            return 1
        if word in _ID_WORDS:
            verdict = -1  # unless a service's name stands before: `acme_id`
        after = word
    return verdict


def _without_fence(before: str) -> str:
    """Return the text before a token without the first line of a block of code, where the line above it says what comes."""
    if not before.endswith("\n") or "```" not in before:
        return before
    above, _, fence = before.rpartition("```")
    above = above.rstrip()
    return f"{above} " if above.endswith(":") and fence.strip(_NAME_SIGNS) == "" and fence.count("\n") == 1 else before


def _cue_after(text: str, end: int) -> int:
    """Return 2 if a token is called a credential behind it: "... is our key", "... as the API token"."""
    words = _words(text[end : end + _REACH // 2])[:6]
    return (
        2 if words[:1] in (["is"], ["as"], ["for"], ["ist"], ["es"]) and not _SECRET_WORDS.isdisjoint(words[1:]) else 0
    )


def _words(text: str) -> list[str]:
    if text.isascii():
        text = _split_humps(text)
    elif has_humps(text):
        text = "".join(
            f" {letter}" if letter.isupper() and previous.islower() else letter
            for previous, letter in zip(" " + text, text, strict=False)
        )
    return text.translate(_SPLIT).lower().split()


def _split_humps(text: str) -> str:
    """Return ASCII text with a space before each capital that follows a small letter."""
    pieces: list[str] = []
    done = 0
    for at in humps(text):
        pieces += (text[done : at + 1], " ")
        done = at + 1
    return "".join((*pieces, text[done:])) if pieces else text


@cache
def _services() -> frozenset[str]:
    entry = package_files() / "data" / "services.txt"
    lines = entry.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """Trim punctuation and a setting's name before `=`; `=` between random parts belongs to the token."""
    while end > start and text[end - 1] in "./-~+_":
        end -= 1
    while end > start and text[start] in "./~+=":
        start += 1
    name = text.find("=", start, end)
    while 0 <= name < end - 2 and (text[start:name] in _DIGESTS or not is_random(text[start:name])):
        start = name + 1 + (text[name + 1] == "=")
        name = text.find("=", start, end)
    return start, end


def _goes_on(text: str, end: int) -> bool:
    following = text[end : end + 1]
    if not following or following in _CLOSERS:
        return following in {".", ":"} and text[end + 1 : end + 2].isalnum()
    return following not in "=/-_" or text[end + 1 : end + 2].isalnum()


def is_uuid(value: str) -> bool:
    return len(value) == 36 and value[8] == value[13] == value[18] == value[23] == "-" and value.count("-") == 4


def _in_url(text: str, start: int) -> bool:
    """Return whether the token is part of an address: there, only a parameter that is named so is a credential."""
    before = text[max(0, start - _URL) : start]
    return "://" in before[max(map(before.rfind, " \n\"'<>(")) + 1 :]


def _is_thorough(value: str) -> bool:
    """Return whether a value is random all through, with no word in it as names of models and products have."""
    parts = value.translate(_SPLIT).split()
    return (
        len(value) >= 14
        and not any(len(part) >= 4 and part.isalpha() and not is_random(part) for part in parts)
        and (len(max(parts, key=len)) >= 10 or changes(value) >= 0.3)
    )


def _is_version(value: str) -> bool:
    """Return whether a value begins as a version does, or ends in a date and a commit (Go's pseudo-versions)."""
    head = value.removeprefix("v")[:6]
    if head[:1].isdigit() and "." in head and head.replace(".", "").replace("-", "").isdigit():
        return True
    date, _, commit = value.rpartition("-")
    return len(commit) == 12 and not commit.strip(_HEX) and len(date) >= 14 and date[-14:].isdigit()


def is_code(value: str) -> bool:
    """Return whether a value is a drawing's path (`64h272v117H376V510`), a number (`0x100UL`) or a name with algorithms in it."""
    lower = value.lower()
    if _DRAWING.issuperset([character for character in lower if character.isalpha()]) or (
        value[:2] in {"0x", "0X"} and not value[2:].rstrip("uUlL").strip(_HEX)
    ):
        return True
    for term in _TERMS:  # many values come by: `any` would take twice as long
        if term in lower:
            break
    else:
        return False
    if len(lower) != len(value):
        return False
    for term in _TERMS:
        while (at := lower.find(term)) >= 0:
            value, lower = f"{value[:at]} {value[at + len(term) :]}", f"{lower[:at]} {lower[at + len(term) :]}"
    return all(is_wordy(part) for part in value.split())


def _is_dense(value: str) -> bool:
    """Return whether marks are so few and parts so random that it is no path, host or dotted name."""
    parts = [part for part in value.translate(str.maketrans("/.+~", "    ")).split() if len(part) >= 4]
    longest = max((len(part) for part in parts), default=0)
    wordy = sum(len(part) for part in parts if part.isalpha() and (part.islower() or part.istitle()) and len(part) >= 5)
    return longest >= 8 and wordy * 3 < len(value) and not value.startswith(("http", "www."))


def _stands_alone(value: str) -> bool:
    head, mark, tail = value.partition("_") if "_" in value else value.partition("-")
    one_case = tail.islower() or tail.isupper()  # keys are of both, and longer
    is_short = len(tail) < _LONGEST_ID or one_case
    if mark and is_short and head.isalpha() and head.islower() and len(head) <= 12 and tail.isalnum():
        return False  # an object's id: `cmpl-...`, `file_...`
    letters = value.replace("-", "").replace("_", "")
    if max(map(len, value.translate(_SPLIT).split())) < 12:  # coordinates, versions
        return False
    if (
        len(letters) < 20
        or len(letters) > 128
        or len(letters) * 8 < len(value) * 7
        or sum(map(str.isdigit, letters)) < 2
    ):
        return False
    both = not letters.islower() and not letters.isupper()
    return changes(letters) >= (0.3 if both else 0.35) and (both or len(letters) >= 24) and entropy(letters) >= 3.5


def _is_public(text: str, start: int, value: str) -> bool:
    """Return whether a value is a public key, a digest, a validator of a page (RFC 9110, 8.8.3) or the token of a badge."""
    before = text[max(0, start - _BADGE) : start]
    return (
        value.startswith(_PUBLIC_KEYS)
        or value[:7].lower() in _DIGEST_HEADS
        or before.endswith('W/"')
        or "badge" in before
    )


def _is_table(value: str) -> bool:
    """Return whether the digits of a value grow, as in tables that are packed into text; by chance one key in a thousand does."""
    digits = [character for character in value if character.isdigit()]
    return len(digits) >= 8 and sum(second < first for first, second in pairwise(digits)) == 0


def _is_encoded_text(value: str) -> bool:
    """Return whether a value is the Base64 of plain text: data, not a key."""
    if len(value) < 16 or not set(value) <= _TOKEN:
        return False
    body = value.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(body[: len(body) // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        return False
    return sum(byte in _TEXT for byte in decoded) * 10 >= len(decoded) * 9


def _is_line(text: str, start: int, end: int) -> bool:
    """Return whether a token fills a whole line as lines of certificates and images do."""
    return end - start >= 56 and text[start - 1 : start] in {"", "\n", " "} and text[end : end + 1] in {"", "\n", "\r"}


def _is_data(text: str, start: int, end: int, *, is_named: bool) -> bool:
    """Return whether a token is a part of a block of Base64, or of a table where no word says that it is a credential."""
    return _is_in_block(text, start, end) or (not is_named and _is_table(text[start:end]))


def _is_in_block(text: str, start: int, end: int) -> bool:
    """Return whether a token is in a line as those of certificates, signatures and images, with another such line beside it."""
    first = text.rfind("\n", max(0, start - _LINE), start) + 1
    last = text.find("\n", end, end + _LINE)
    last = min(len(text), end + _LINE) if last < 0 else last
    own = text[max(first, start - _LINE) : start].strip(_FRAME), text[end:last].strip(_FRAME)
    if own[0].rpartition(">")[2].strip(_BASE64) or own[1].partition("<")[0].strip(_BASE64):
        return False
    above = text[max(0, first - _LINE) : max(0, first - 1)].rpartition("\n")[2].strip(_FRAME).rpartition(">")[2]
    below = text[last + 1 : last + _LINE].partition("\n")[0].strip(_FRAME).partition("<")[0]
    return any(len(line) >= 56 and not line.strip(_BASE64) for line in (above, below))
