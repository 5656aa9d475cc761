"""Stage 7: secrets, personal data, marked and registered values are hidden before a byte leaves (promise P6; THREATS R.1-R.4).

Each finding's type has an action: mask (reversible), surrogate (a fake of the same form), remove, block or allow. A text that
looks like a placeholder is hidden like a value, so nothing in the program's own text can be restored into something else. A
placeholder of this very conversation stays: a tool that was given one sends it back in its result, and the model has to
recognise it.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote_plus

from safellm._core.call import Call
from safellm._core.detection.crossing import crossing_findings
from safellm._core.detection.finding import Finding
from safellm._core.fields import Field, Kind
from safellm._core.jsonpath import covers, parse_path
from safellm._core.placeholder import LOOK_ALIKE_TYPE, PATTERN
from safellm._core.policy import Action
from safellm._core.redaction.hide import GUARD, action_for, blocked, hide, rank_of
from safellm._core.redaction.memory import Memory
from safellm._core.redaction.names import name_fields
from safellm._core.redaction.numbers import Path, number_fields
from safellm._core.redaction.spots import (
    PATH_RULE,
    SECRET_TYPES,
    Finder,
    Spot,
    find_look_alikes,
    find_spots,
    is_guess,
    with_values,
)
from safellm.errors import Reason, Refused

NAME = GUARD
# Where hiding anything else than a secret would break what the string is for.
_SECRETS_ONLY = frozenset({Kind.URL, Kind.IDENTIFIER, Kind.OPAQUE})
_ID_PARAMETER = re.compile(r"(?:\w*_)?ids?(?:\[\w*\])?")  # `after_id`, `rbac_group_ids[]`
_PART = ("text",)  # how the path of a text in a list of parts ends
_UNSEARCHED = frozenset({Kind.DATA, Kind.OPAQUE, Kind.CREDENTIAL})


def guard(call: Call) -> None:
    """Hide what must not leave.

    Raises:
        Refused: `redaction.blocked`, when the policy blocks a type that was found.
    """
    enabled, scanner = call.policy.redaction.enabled, call.tools.scanner
    registered, own = call.tools.registered or None, call.tools.own
    _check_target(call, registered, own)
    named = _named_places(call)
    accounts = frozenset(tuple(name.split(".")) for name in call.route.accounts)
    marks = call.mapping.marks if isinstance(call.mapping, Memory) else None
    if not enabled and registered is None and own is None and marks is None and named is None:
        return
    fields = [one for one in call.fields if one.text and one.kind not in _UNSEARCHED]
    searched = [*fields, *number_fields(call.body, named)] if enabled or named else fields
    if registered is not None:  # also where nothing else is looked for
        opaque = [one for one in call.fields if one.kind is Kind.OPAQUE]
        searched = [*searched, *opaque, *name_fields(call.body, registered)]
    texts: _Texts | None = None  # made before the first text changes; in most calls none does
    rank = rank_of(call.policy.hiding)
    crossing = _crossing(call, fields, registered, own) if len(fields) > 1 else {}
    # Values first: which placeholders belong to this conversation is known only when all of its values are.
    for one in searched:
        if named is not None and _is_named(one, named):
            finding = Finding(type=_name_of(call, one.path) or "", rule=PATH_RULE, start=0, end=len(one.text))
            spots = [Spot(finding=finding, value=with_values(one.text, marks))]
        else:
            spots = find_spots(
                one.text,
                scanner=scanner if enabled and one.kind is not Kind.OPAQUE else None,
                registered=registered,
                marks=marks,
                secrets_only=one.kind in _SECRETS_ONLY,
                is_id=one.kind is Kind.IDENTIFIER,
                crossing=crossing.get(one.path, ()) if crossing else (),
                own=own if one.kind is not Kind.OPAQUE else None,
                rank=rank,
            )
            if accounts and spots and _names_account(one, accounts):
                spots = _without_account(call, spots)
        if spots:
            texts = texts or _Texts(searched)
            _replace(call, one, spots, texts)
    if not enabled and not len(call.mapping):
        return  # nothing is hidden, so nothing will be put back
    for one in fields:
        if look_alikes := find_look_alikes(one.text, call.mapping):
            texts = texts or _Texts(searched)
            _replace(call, one, look_alikes, texts)


class _Texts:
    """Everything that the program wrote, to tell whether a surrogate stands in it by chance."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._texts = [one.text for one in fields]  # as they are before anything is hidden
        self._lower: str | None = None

    def hold(self, text: str) -> bool:
        """Return whether a text stands anywhere, in any case."""
        if self._lower is None:
            self._lower = "\0".join(self._texts).lower()
        return text.lower() in self._lower


def _named_places(call: Call) -> Callable[[Path], bool] | None:
    paths = call.policy.redaction.paths
    if not paths:
        return None
    return lambda path: _name_of(call, path) is not None


def _name_of(call: Call, path: Path) -> str | None:
    return next((name for text, name in call.policy.redaction.paths.items() if covers(parse_path(text), path)), None)


def _crossing(
    call: Call, fields: Sequence[Field], registered: Finder | None, own: Finder | None
) -> dict[Path, list[Finding]]:
    """Return the parts of values that go on in the next text of the same message, which the model reads as one text."""
    scanner = call.tools.scanner if call.policy.redaction.enabled else None
    exact = [finder.find for finder in (registered, own) if finder is not None]
    found: dict[Path, list[Finding]] = {}
    # A row is of texts that `_follows` one another: two at least.
    if (scanner is None and not exact) or len([one for one in fields if one.path[-1:] == _PART]) < 2:  # noqa: PLR2004
        return found
    row: list[Field] = []
    for one in (*fields, None):
        if one is not None and (one.kind is not Kind.TEXT or one.is_key):
            continue
        if row and (one is None or not _follows(row[-1].path, one.path)):
            if len(row) > 1:
                parts = crossing_findings([each.text for each in row], scanner, exact)
                found.update((each.path, part) for each, part in zip(row, parts, strict=True) if part)
            row = []
        row += [one] if one is not None else []
    return found


def _follows(before: Path, after: Path) -> bool:
    """Return whether two texts are next to each other in a list of parts: `…/content/0/text`, `…/content/1/text`."""
    return (
        len(before) == len(after) > 2  # noqa: PLR2004 - list, place, key
        and before[-1] == after[-1] == "text"
        and before[:-2] == after[:-2]
        and isinstance(before[-2], int)
        and isinstance(after[-2], int)
    )


def _is_named(one: Field, named: Callable[[Path], bool]) -> bool:
    return not one.is_key and named(one.path) and PATTERN.fullmatch(one.text) is None


def _names_account(one: Field, accounts: frozenset[tuple[str, ...]]) -> bool:
    """Return whether a text says whose account the call is about, alone or in a list of them."""
    return not one.is_key and tuple(part for part in one.path if isinstance(part, str)) in accounts


def _without_account(call: Call, spots: Sequence[Spot]) -> list[Spot]:
    """Count what goes out as it is, as nobody else could be invited or let in by a placeholder; return what is hidden all the same.

    That is: all that is no address, secrets, registered values, what the program marked, and what the policy blocks.
    """
    rest = []
    for spot in spots:
        kind = spot.finding.type
        hidden = "@" not in spot.value or kind in SECRET_TYPES or spot.is_mark
        if hidden or action_for(call.policy.hiding, spot) is Action.BLOCK:
            rest.append(spot)
        else:
            call.findings[kind] += 1
            call.kept[kind] += 1
    return rest


def _replace(call: Call, one: Field, spots: list[Spot], texts: _Texts) -> None:
    redaction = call.policy.hiding
    for spot in spots:
        if spot.finding.type != LOOK_ALIKE_TYPE:
            call.findings[spot.finding.type] += 1
        if call.policy.observes and action_for(redaction, spot) is Action.BLOCK:
            raise blocked(spot.finding.type, one.pointer or "its text")
    if call.policy.observes:
        return  # nothing leaves hidden, so nothing is to be put back
    text, _ = hide(
        one.text,
        spots,
        redaction=redaction,
        mapping=call.mapping,
        key=call.tools.key,
        is_taken=texts.hold,
        where=one.pointer or "its text",
    )
    call.hidden_at += [(spot.value, spot.finding.type, one) for spot in spots if spot.finding.type != LOOK_ALIKE_TYPE]
    if text != one.text:
        call.change(one, text)


def _forms(text: str) -> set[str]:
    """Return a part of the URL as it stands and as a server reads it, decoded once and twice."""
    if "%" not in text and "+" not in text:
        return {text}
    once = unquote_plus(text)
    return {text, once, unquote_plus(once)}


def _holds_secret(call: Call, registered: Finder | None, own: Finder | None) -> bool:
    """Return whether the URL holds one.

    Each value is looked at without its parameter's name: the names are the provider's (`session_id`, `api_key_id`), and say nothing
    about what stands there, but that an id is random without being a secret. Parameters that are there for credentials are the
    matter of the egress guard.
    """
    head = call.head
    path, query = head.path, head.query
    if registered is not None and any(registered.find(form) for form in _forms(f"{path}?{query}")):
        return True
    if own is not None and any(
        one.type in SECRET_TYPES for form in _forms(f"{path}?{query}") for one in own.find(form)
    ):
        return True
    if not call.policy.redaction.enabled:
        return False
    if head.known.get(NAME) is call.tools.scanner:
        return False  # it found nothing there before
    parts = [(path, False)]
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        parts += ((name, False), (value, _ID_PARAMETER.fullmatch(unquote_plus(name)) is not None))
    found = any(
        finding.type in SECRET_TYPES and not (is_id and is_guess(finding))
        for part, is_id in parts
        if part
        for form in _forms(part)
        for finding in call.tools.scanner.scan(form)
    )
    if not found:
        head.known[NAME] = call.tools.scanner
    return found


def _check_target(call: Call, registered: Finder | None, own: Finder | None) -> None:
    # A path or a query can't be masked: the provider has to understand it. A secret there stops the call (THREATS R.1, E.5).
    if _holds_secret(call, registered, own):
        raise Refused(
            "The request's URL holds a secret",
            guard=NAME,
            reason=Reason.REDACTION_BLOCKED,
            remedy="Send credentials in a header, never in the path or the query.",
            status=400,
        )
