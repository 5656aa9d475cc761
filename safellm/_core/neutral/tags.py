"""HTML tags in a reply: which fetch, run, or change how the rest is read.

Sources: HTML Standard 13.2.5 (what browsers take for a tag), CommonMark 0.31 6.6 (what renderers hand on as one). Each `<` is
judged by itself, inside another tag's quotes too, so that nobody has to agree with us where a tag ends.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from safellm._core.neutral.addresses import Judge, has_script, plain

LONGEST: Final = 1024  # characters of a tag; a longer one is escaped
_LONGEST_LOOSE: Final = 400

_VALUE = r"(?:[^\s\"'=<>`]++|'[^']*+'|\"[^\"]*+\")"
_ATTRIBUTE = rf"\s++[A-Za-z_:][A-Za-z0-9_.:-]*+(?:\s*+=\s*+{_VALUE})?+"
_OPEN = re.compile(rf"<([A-Za-z][A-Za-z0-9-]*+)((?:{_ATTRIBUTE})*+)\s*+/?>")
# The same, cut off at the end of the text.
_CUT = re.compile(rf"<[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+(?:\s*+/?|\s*+=\s*+(?:'[^']*+|\"[^\"]*+)?)\Z")
_ONE = re.compile(rf"\s++([A-Za-z_:][A-Za-z0-9_.:-]*+)(?:\s*+=\s*+({_VALUE}))?+")
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.\-]{1,31}:[^\s<>]*+)>")
_CUT_AUTOLINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.\-]{0,31}(?::[^\s<>]*+)?\Z")
_SCRIPT_LINK = re.compile(r"<(?:javascript|vbscript|livescript|mocha|data|blob|file|intent):", re.IGNORECASE)
_MAIL = re.compile(r"<[\w.!#$%&'*+/=?^`{|}~\-]{1,64}@[\w.\-]{1,255}>")
_END = re.compile(r"</[A-Za-z][A-Za-z0-9:-]*+\s*+>")
_LOOSE = re.compile(r"<(?:=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z))|[^>])*+")
_NAME = re.compile(r"<([A-Za-z][^\s/>]*+)")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")

# Without any attribute they swallow or run what follows.
_ALWAYS: Final = frozenset(
    {"script", "style", "plaintext", "xmp", "textarea", "noembed", "noframes", "noscript", "iframe", "listing"}
)
# With an attribute they load something, or nobody knows what.
_WITH_ATTRIBUTES: Final = frozenset(
    {"applet", "base", "bgsound", "embed", "fencedframe", "form", "frame", "frameset", "image", "isindex", "link", "math",
     "meta", "object", "param", "portal", "source", "svg", "track", "video", "audio", "animate", "set", "use", "feimage",
     "keygen", "animatetransform", "animatemotion", "foreignobject", "template", "slot"}
)  # fmt: skip
_BAD: Final = frozenset(
    {"action", "archive", "attributename", "attributionsrc",
     "autofocus", "background", "by", "classid", "code", "codebase", "content", "data",
     "dynsrc", "formaction", "from", "http-equiv", "icon", "imagesrcset", "is", "lowsrc", "manifest", "ping", "poster",
     "profile", "srcdoc", "srcset", "to", "values", "xml:base", "xlink:href", "slot", "popover"}
)  # fmt: skip
_BAD_BEGINNINGS: Final = ("on", "x-", "v-", "ng-", "hx-", "data-hx-", "data-ng-", "xmlns", "xlink", ":", "_")
_ADDRESSED: Final = frozenset({"src", "href"})
_BAD_VALUE = re.compile(r"url\(|image-set|expression\(|@import|script:|data:text")
PLAIN_STYLE = re.compile(r"(?!.*(?:position|behavio|binding|url|\\))[a-z0-9 #%.:;,\-]*", re.IGNORECASE)
_BAD_LOOSE = re.compile(
    r"[\s/\"'`](?:on[a-z]{3,}|(?:(?:low|dyn|attribution)?src|(?:image)?srcset|srcdoc|code(?:base)?|archive|classid|style|(?:xlink:)?href|(?:form)?action|background|poster|data|ping|http-equiv"
    r"|to|values|from|content)\s*+=)",
    re.IGNORECASE,
)


class Verdict(Enum):
    """What is to be done with a `<`."""

    PASS = auto()
    ESCAPE = auto()
    MORE = auto()  # only more text can tell


def judge_tag(text: str, at: int, judge: Judge, *, last: bool) -> tuple[Verdict, int]:  # noqa: C901, PLR0911 - one case after another
    """Return what to do with the `<` before a letter or a slash, and where to read on.

    Args:
        text: The reply, as far as it is known.
        at: Place of the `<`.
        judge: Decides about addresses.
        last: Nothing follows the text.
    """
    more = not last and len(text) - at < LONGEST
    link = _AUTOLINK.match(text, at)
    if link is not None:
        return (Verdict.ESCAPE, at + 1) if has_script(link[1]) else (Verdict.PASS, link.end())
    if _SCRIPT_LINK.match(text, at) is not None:
        return Verdict.ESCAPE, at + 1  # what stands in it may become text, and then it is a link
    mail = _MAIL.match(text, at)
    if mail is not None:
        return Verdict.PASS, mail.end()
    if text.startswith("</", at):
        end = _END.match(text, at)
        if end is None and more and ">" not in text[at:]:
            return Verdict.MORE, at
        # Attributes of an end tag do nothing.
        return (Verdict.ESCAPE, at + 1) if judge.strict else (Verdict.PASS, end.end() if end is not None else at + 2)
    name = _NAME.match(text, at)
    if name is None:
        return Verdict.PASS, at + 1
    if name.end() == len(text) and more:
        return Verdict.MORE, at
    if name[1].lower() in _ALWAYS:
        return Verdict.ESCAPE, at + 1
    found = _OPEN.match(text, at)
    if found is not None:
        return (
            (Verdict.PASS, found.end()) if not judge.strict and _is_harmless(found, judge) else (Verdict.ESCAPE, at + 1)
        )
    if more and (_CUT.match(text, at) or _CUT_AUTOLINK.match(text, at)):
        return Verdict.MORE, at
    return _judge_loosely(text, at, name[1].lower(), last=last, strict=judge.strict)


def is_whole(text: str, at: int) -> bool:
    """Return whether the `<` at a place begins a tag that ends, or nothing that could take in what follows as attributes."""
    if any(one.match(text, at) is not None for one in (_OPEN, _END, _AUTOLINK, _MAIL)):
        return True
    return text[at + 1 : at + 2] not in ("!", "?") and "=" not in text[at : at + LONGEST].partition(">")[0]


def _judge_loosely(text: str, at: int, name: str, *, last: bool, strict: bool) -> tuple[Verdict, int]:
    """Judge what is no tag for CommonMark, but may be one for other renderers, or inside a block of HTML."""
    limit = min(len(text), at + _LONGEST_LOOSE)
    found = _LOOSE.match(text, at, limit)
    end = found.end() if found is not None else at + 1
    # Only inside of <pre> a block of HTML goes on over blank lines.
    blank = _BLANK_LINE.search(text, at, end) if name != "pre" else None
    if not strict and not last and blank is None and end == len(text) < at + _LONGEST_LOOSE:
        return Verdict.MORE, at
    region = text[at : end if blank is None else blank.start()]
    if strict or (("=" in region) and (name in _WITH_ATTRIBUTES or _BAD_LOOSE.search(region))):
        return Verdict.ESCAPE, at + 1
    return Verdict.PASS, at + 1


def _is_harmless(tag: re.Match[str], judge: Judge) -> bool:
    name, written = tag[1].lower(), tag[0]
    odd = "`" in written or "<" in written[1:] or ">" in written[:-1] or _BLANK_LINE.search(written)
    if odd or written[-2].isspace():  # markdown2 writes "<b >" as "<b &gt;", and what follows is attributes
        return False
    for one in _ONE.finditer(tag[2]):
        attribute, value = one[1].lower(), (one[2] or "").strip("\"'")
        if name in _WITH_ATTRIBUTES or attribute in _BAD or attribute.startswith(_BAD_BEGINNINGS):
            return False
        if attribute in _ADDRESSED:
            if not _may_stand(name, attribute, value, judge):
                return False
        elif attribute == "style":
            if not PLAIN_STYLE.fullmatch(value):
                return False
        elif value and _BAD_VALUE.search(plain(value).lower()):
            return False
    return True


def _may_stand(name: str, attribute: str, value: str, judge: Judge) -> bool:
    if name == "img" and attribute == "src":
        return judge.may_fetch(value)
    return name in {"a", "area"} and attribute == "href" and judge.may_link(value, "")
