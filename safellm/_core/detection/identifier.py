"""Numbers of people and firms: what a run of digits and letters is, by its shape, its check digits and what it is called.

* A kind whose form and check leave little to chance (`data/words/kinds.toml`) is found without a label.
* Any other number is found when a label in front of it says what it is: also when its check digit is wrong, because a mistyped
  number still leads to its owner.
* A label that names another kind of number (order, phone, card) takes it away from the kinds.
"""

# ruff: noqa: PLR0911 - a check is a list of reasons to say no
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from safellm._core.detection.context import Spans, is_decimal, is_glued
from safellm._core.detection.kinds import LONGEST, Kind, Kinds, load_kinds, shape
from safellm._core.detection.national.medical import vin
from safellm._core.detection.tables import label_above, label_of
from safellm._core.detection.words import OTHER, Label

_GROUPS = 7  # groups of the longest layout: the French number of 1 85 05 78 006 084 36
_LEAST_DIGITS = 5  # digits of a number that only its label makes one
_MIXED = range(8, 18)  # characters of a document's number with letters all through, two of them digits at least
_VIN = 17
_MARGIN = 64  # characters of white space before a number that is the whole text
_APART = str.maketrans(dict.fromkeys(".-/:+()\t\n\r", " "))
_NUMBERS = frozenset({
    "NATIONAL_ID", "TAX_ID", "PASSPORT", "DRIVER_LICENSE", "MEDICAL_ID", "BANK_ACCOUNT", "VIN", "US_SSN",
})  # fmt: skip
_OF_DIGITS = frozenset({"CREDIT_CARD", "PHONE"})  # "pan" before letters is no card
_DOCUMENTS = frozenset({"NATIONAL_ID", "PASSPORT", "DRIVER_LICENSE", "MEDICAL_ID"})
_SURE = 0.9  # so sure that not even "order" in front changes it
_LABELLED, _LABEL_ALONE, _VIN_ALONE = 0.95, 0.7, 0.6

_SKELETONS = frozenset({".", ":", "::", "/"})  # decimals, times, fractions
_CZECH = "999999/9999"  # the one number among them
_DATES = frozenset(
    {
        "9999-99-99",
        "99-99-9999",
        "99.99.9999",
        "99/99/9999",
        "9999/99/99",
        "9999.99.99",
        "9999-99-99 99",
        "9999-99-99 99:99:99",
    }
)

_NO_BEGIN = frozenset("+.")  # signs before digits that are a part of something longer
_HEX = frozenset("0123456789abcdef")
_COLOURS = ("rgb(", "rgba(")
_STEP = 16  # between neighbours of a table
_Group = tuple[int, int]
_Found = tuple[int, int, float, str]
_Candidate = tuple[float, str, str, Callable[[str], bool] | None]  # confidence, type, prefix and check of a kind


def identifier(text: str, start: int, end: int, countries: frozenset[str] = frozenset()) -> Spans:
    """Find the numbers in a run of groups of letters and digits, each with its type and confidence.

    Args:
        text: The canonical text.
        start: Where the run begins.
        end: Where it ends.
        countries: Whose numbers are found without a label; none means all.
    """
    run = text[start:end]
    places, candidates, first = _look(shape(run), countries)
    if not places:
        return ()
    found = _unlabelled(text, run, start, candidates) if candidates else []
    if first < 0 or (found and found[0][0] == start + places[0][0] and found[0][2] >= _SURE):
        return found
    if _is_standard(text, start + places[first][0]):
        return found
    if first and text[start + places[first - 1][1]] == "-" and places[first - 1][1] + 1 == places[first][0]:
        first -= 1  # the letters that a hyphen joins to the number: `MRN-0669193`
    low, high = start + places[first][0], start + places[first][1]
    label = label_of(text, low, high) if _may_be_labelled(text, low) else label_above(text, low, high)
    if label is None:
        return found
    begin = [(start + low, start + high) for low, high in places[first:]]
    named = _named(text, begin, label)
    if named is not None:
        return [named, *(one for one in found if one[0] >= named[1])]
    if label.type in _NUMBERS or (label.type in _OF_DIGITS and not text[begin[0][0] : begin[0][1]].isdigit()):
        return found
    sure = _SURE if label.is_direct or label.type == OTHER else 0.0
    return [one for one in found if one[2] >= sure]


def _unlabelled(text: str, run: str, start: int, candidates: Sequence[tuple[int, tuple[_Row, ...]]]) -> list[_Found]:
    """Return the numbers of a run that need no label."""
    found: list[_Found] = []
    after = 0
    for position, rows in candidates:
        if position >= after:
            one, taken = _alone(text, run, start, rows)
            if one:
                found.append(one)
            after = position + taken
    return found


def _is_standard(text: str, low: int) -> bool:
    """Return whether a number is that of a standard: RFC 9110; that of a Mexican taxpayer begins with letters."""
    return (
        text[max(0, low - 1) : low] == " " and text[low].isdigit() and text[max(0, low - 4) : low - 1].upper() == "RFC"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Groups in a row that could be a number without a label.

    Attributes:
        groups: Their spans in the run.
        end: Where they end, with a bracket that closes the last.
        formatted: The kinds that are written in such groups, each with its confidence, the surest first.
        bare: These and the kinds of such a form without separators.
        alone: The same for a number that is the whole text.
        is_bare: Whether there are no separators.
    """

    groups: tuple[_Group, ...]
    end: int
    formatted: tuple[_Candidate, ...]
    bare: tuple[_Candidate, ...]
    alone: tuple[_Candidate, ...]
    is_bare: bool


def _row(form: str, groups: Sequence[_Group], end: int, kinds: Kinds) -> _Row:
    window, compact = form[groups[0][0] : end], "".join(form[low:high] for low, high in groups)
    formatted = [(kind.formatted, kind) for kind in kinds.layouts.get((window, compact), ())]
    bare = kinds.bare.get(compact, ()) if window == compact else ()
    return _Row(
        groups=tuple(groups),
        end=end,
        formatted=_surest_first(formatted),
        bare=_surest_first([*formatted, *((kind.bare, kind) for kind in bare)]),
        alone=_surest_first([*formatted, *((max(kind.bare, kind.alone), kind) for kind in bare)]),
        is_bare=window == compact,
    )


def _surest_first(kinds: Iterable[tuple[float, Kind]]) -> tuple[_Candidate, ...]:
    found = [(sure, kind.type, kind.prefix, kind.check) for sure, kind in kinds if sure]
    return tuple(sorted(found, key=lambda one: one[:2], reverse=True))


@lru_cache(maxsize=2048)  # shapes are few, and say nothing about the numbers
def _look(
    form: str, countries: frozenset[str]
) -> tuple[tuple[_Group, ...], tuple[tuple[int, tuple[_Row, ...]], ...], int]:
    """Return what a shape says.

    Returns:
        Its groups, none if it is no number; from which one on which of them could be meant as a kind; and which is the first with
        a digit, or -1.
    """
    kinds = load_kinds(countries)
    if form.count("9") < _LEAST_DIGITS and _is_mixed(form):
        whole = ((0, len(form)),)
        return whole, (((0, (_row(form, whole, len(form), kinds),)),) if form in kinds.bare else ()), 0
    if form.count("9") < _LEAST_DIGITS or (form.replace("9", "") in _SKELETONS and form != _CZECH) or form in _DATES:
        return (), (), -1
    groups = _groups(form)
    candidates: list[tuple[int, tuple[_Row, ...]]] = []
    for first, (low, _) in enumerate(groups):
        rows: list[_Row] = []
        for count in range(min(_GROUPS, len(groups) - first), 0, -1):
            end = _closed(form, groups[first + count - 1][1])
            window = form[low:end]
            if window in kinds.forms or (count == 1 and (window in kinds.bare or len(window) == _VIN)):
                rows.append(_row(form, groups[first : first + count], end, kinds))
        if rows:
            candidates.append((first, tuple(rows)))
    first = next((place for place, (low, high) in enumerate(groups) if "9" in form[low:high]), -1)
    return tuple(groups), tuple(candidates), first


def _is_mixed(form: str) -> bool:
    """Return whether a shape is that of a document's number in which letters stand all through: `C01X0006H`."""
    return len(form) in _MIXED and form.isalnum() and 2 <= form.count("9") < len(form)  # noqa: PLR2004


def _closed(form: str, high: int) -> int:
    """Return the end of a group with the bracket that closes it, for a check digit in brackets."""
    return high + (form[high : high + 1] == ")" and form[high - 2 : high - 1] == "(")


def _groups(form: str) -> list[_Group]:
    groups: list[_Group] = []
    position = 0
    for piece in form.translate(_APART).split(" "):
        if piece:
            groups.append((position, position + len(piece)))
        position += len(piece) + 1
    return groups


def _may_be_labelled(text: str, start: int) -> bool:
    """Return whether a label can stand directly before an index: no other number or list does."""
    before = text[max(0, start - 3) : start].rstrip(" \"'([{=:")
    if before[-1:] == "," and text[start - 1] == " ":  # "my passport, X1234567, is"
        return before[-2:-1].isalpha()
    return not before or not (before[-1].isdigit() or before[-1] in ",;|<")


def _alone(text: str, run: str, start: int, rows: Sequence[_Row]) -> tuple[_Found | None, int]:
    """Return the number that needs no label and is the first of some rows of groups, if any, and how many groups it takes."""
    for row in rows:
        low, high = start + row.groups[0][0], start + row.end
        if text[max(0, low - 1) : low] in _NO_BEGIN:
            continue
        whole = row.is_bare and low == start and row.end == len(run)
        compact = run if whole else "".join([run[first:last] for first, last in row.groups])
        best = _best(row, compact, is_all=low < _MARGIN and text.strip() == text[low:high])
        if best and not _is_part(text, low, high) and not _counts(text[low:high]):
            return (low, high, best[0], best[1]), len(row.groups)
    return None, 1


def _best(row: _Row, compact: str, *, is_all: bool) -> tuple[float, str] | None:
    characters = set(compact)
    if len(characters) < 3:  # noqa: PLR2004 - 111111111 is nobody's
        return None
    upper = compact
    if not compact.isdigit():
        upper = compact.upper()
        if not characters - _HEX or (compact != upper and compact != compact.lower()):  # a commit, or no number
            return None
    if not row.is_bare or _is_time(compact):
        return _first_that_holds(row.formatted, upper)
    best = _first_that_holds(row.alone if is_all else row.bare, upper)
    if len(compact) == _VIN and compact == upper and not compact.isdigit() and vin(compact):
        return max(best or (0.0, ""), (_VIN_ALONE, "VIN"))
    return best


def _first_that_holds(kinds: Iterable[_Candidate], compact: str) -> tuple[float, str] | None:
    for sure, kind, prefix, check in kinds:
        if compact.startswith(prefix) and (check is None or check(compact)):
            return sure, kind
    return None


def _named(text: str, groups: Sequence[_Group], label: Label) -> _Found | None:
    """Return the number that begins with the first group and is what its label says."""
    if label.type not in _NUMBERS:
        return None
    low = groups[0][0]
    for count in range(min(len(groups), _GROUPS), 0, -1):
        high = groups[count - 1][1]
        compact = "".join(text[first:last] for first, last in groups[:count]).upper()
        if not _LEAST_DIGITS <= len(compact) <= LONGEST or _is_part(text, low, high) or _is_years(text[low:high]):
            continue
        if text[slice(*groups[count - 1])].islower() and text[groups[count - 1][0] - 1] == " ":  # a word behind it
            continue
        if _has_kind(compact, label.type, load_kinds().shapes.get(shape(compact), ())):
            return (low, high, _LABELLED, label.type)
        if label.is_direct and (
            _may_be_number(text[low:high], compact)
            or (label.type in _DOCUMENTS and text[low:high].isupper() and _is_mixed(shape(text[low:high])))
        ):
            return (low, high, _LABEL_ALONE, label.type)
    return None


def _has_kind(compact: str, kind: str, kinds: Iterable[Kind]) -> bool:
    if kind == "VIN":
        return len(compact) == _VIN and not compact.isdigit() and vin(compact)
    return any(one.type == kind and one.check is not None and one.holds(compact) for one in kinds)


def _is_part(text: str, start: int, end: int) -> bool:
    if text[max(0, start - 5) : start].lower().endswith(_COLOURS):
        return True
    begin = start - 1 if text[max(0, start - 2) : start] == " #" else start  # "account #20159323"
    if is_glued(text, begin, end) or text[max(0, start - 1) : start] in _NO_BEGIN or is_decimal(text, start, end):
        return True
    return text[end : end + 1] == "-" and text[end + 1 : end + 2].isalnum()  # a UUID


def _counts(value: str) -> bool:
    """Return whether groups of digits are a colour, or count upwards as code points do, or begin with a date as versions do."""
    groups = value.split(" ")
    if len(groups) >= 3 and all(map(str.isdigit, groups)):  # noqa: PLR2004 - two groups may be so by chance
        if list(map(len, groups)) == [3, 3, 3] and max(groups) <= "255" and min(groups) >= "100":
            return True
        if list(map(len, groups)) == [4, 4, 4] and all(group[0] == "0" for group in groups):
            return True
        return all(0 < int(second) - int(first) <= _STEP for first, second in pairwise(groups))
    date, dash, rest = value.partition("-")
    return bool(dash) and len(rest) == 1 and len(date) == len("20260131") and _is_time(date)


def _may_be_number(raw: str, compact: str) -> bool:
    digits = sum(map(str.isdigit, compact))
    return (
        digits >= _LEAST_DIGITS
        and len(compact) - digits <= max(6, digits)
        and shape(raw) not in _DATES
        and len(set(compact)) > 1
    )


def _is_years(raw: str) -> bool:
    """Return whether a value is two years: 2008-2011."""
    first, _, second = raw.partition("-")
    return len(first) == len(second) == 4 and all("1900" <= year <= "2099" for year in (first, second))  # noqa: PLR2004 - digits


def _is_time(compact: str) -> bool:
    """Return whether digits are a time in seconds or parts of them since 1970 (2010 to 2033), or a packed date."""
    if not compact.isdigit():
        return False
    if (
        len(compact) in {8, 12, 14}
        and "1990" <= compact[:4] <= "2039"
        and "01" <= compact[4:6] <= "12"
        and "01" <= compact[6:8] <= "31"
    ):
        return compact[8:10] < "24" and compact[10:12] < "60"
    return len(compact) in {10, 13, 16, 19} and "126" <= compact[:3] <= "200"
