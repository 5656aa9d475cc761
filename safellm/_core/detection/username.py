"""User names in log lines, settings and sentences."""

# ruff: noqa: SIM905 - lists of words read best as text
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache

from safellm._core.detection.canonical import canonicalise
from safellm._core.detection.context import Spans

_SHORTEST = 3  # letters
_BEFORE = 40  # characters before a name in which its label stands
# Names of programs, roles and types, which are no people.
_NOT_PEOPLE = frozenset(
    "root admin administrator postgres mysql redis mongo oracle nobody daemon system guest test user users "
    "username string str null none true false undefined optional required default value text varchar anonymous "
    "public service bot www-data nginx apache ubuntu ec2-user git jenkins runner node app application api client "
    "server int integer object self name not already invalid missing unknown empty unique taken available your "
    "the set changed valid stored incomplete final any bytes object present used given provided specified correct incorrect case "
    "also only an still no both in of for always longer http https basic my example demo sample foo bar baz db dev prod staging "
    "ci svc sys info support sales new old role group team account session token key id uid data config env this props state "
    "args params ctx req res request response event model schema field form input password passwd pass secret email mail "
    "anyone someone everyone yourself yourname owner member customer manager operator master super sa replication readonly "
    "github gitlab login logout handler handlers index main module utils docker kube kubernetes aws azure google host local "
    "localhost tmp var usr bin com org net io www".split()
)
# After these a word alone can be a name; after others, which are words of programs, too, it needs a digit or a joint.
_STRONG = (
    "username", "user name", "login name", "screen name", "benutzername", "nombre de usuario", "nom d'utilisateur",
    "nome utente", "gebruikersnaam", "handle", "logged in as", "signed in as",
)  # fmt: skip
_JOINED = (
    ["and"],
    ["but"],
    ["or"],
    ["on"],
    ["at"],
    ["und"],
    ["et"],
    ["y"],
    ["e"],
)  # what may follow a name in a sentence
_VERBS = (" is", " ist", " es", " est", " è", " é")
_OTHER_SCRIPTS = (
    "логин", "имя пользователя", "ім'я користувача", "логін", "потребителско име", "корисничко име", "όνομα χρήστη",
    "اسم المستخدم", "نام کاربری", "שם משתמש", "用户名", "用戶名", "用户名称", "账号名", "登录名", "使用者名稱", "ユーザー名",
    "ユーザー名", "ユーザーid", "ログインid", "아이디", "사용자 이름", "사용자명", "ชื่อผู้ใช้", "उपयोगकर्ता नाम", "यूज़रनेम",
)  # fmt: skip


@cache
def _other_scripts() -> tuple[str, ...]:
    return tuple(canonicalise(word).text.lower() for word in _OTHER_SCRIPTS)  # as checks see them


def username(text: str, start: int, end: int) -> Spans:
    """Accept a name that isn't a role, a type or code."""
    name = text[start:end].rstrip(".-_")
    end = start + len(name)
    after = text[end : end + 3]
    is_code = (
        after.lstrip(" ")[:1] in {"(", "[", "=", "<", "{"}
        and not after.startswith("</")
        and not _is_access_log(text, end)
    )
    if len(name) < _SHORTEST or is_code:
        return ()
    if after[:1] in {"@", "/", "\\", "$"} or name.lower() in _NOT_PEOPLE:
        return ()
    parts = name.lower().replace("-", ".").replace("_", ".").split(".")
    if any(part.rstrip("0123456789") in _NOT_PEOPLE for part in parts):
        return ()
    if name.isalpha() and not (name.islower() or name.istitle()):  # a class, a constant
        return ()
    return ((start, end),) if not name.isalpha() or _is_named(text, start, after) else ()


def username_marked(text: str, start: int, end: int) -> Spans:
    """Accept a name behind a label in another script."""
    before = text[max(0, start - _BEFORE) : start].lower().rstrip(" \"'`:=")
    return username(text, start, end) if before.endswith(_other_scripts()) else ()


def _is_access_log(text: str, end: int) -> bool:
    """Return whether a date in the common log format follows: ` [11/Feb/2026:`."""
    return text[end : end + 2] == " [" and text[end + 4 : end + 5] == "/" and text[end + 8 : end + 9] == "/"


def _is_named(text: str, start: int, after: str) -> bool:
    """Return whether what stands before a word, or behind it, makes it a name."""
    before = text[max(0, start - _BEFORE) : start].lower()
    if before.endswith(("=", " - ")):  # a record of a log; the rule asks for the rest of it
        return True
    stem = before.rstrip(" \"'`:")
    for verb in _VERBS:
        stem = stem.removesuffix(verb)
    if stem.endswith(_other_scripts()) or (before.endswith(">") and after.startswith("</")):
        return True
    if not before.endswith((" ", "`")) or after[:1] in {",", ";"} or not stem.endswith(_STRONG):
        return False
    return (
        not after[1:2].islower() or after[:1] != " " or text[start : start + 2 * _BEFORE].split(None, 2)[1:2] in _JOINED
    )
