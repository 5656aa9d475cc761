"""Who decides about the calls in one answer: declared, allowed, well-formed, within its bounds, approved (THREATS A.1-A.6).

What is judged is what the program gets: the arguments after hidden values were put back. Nobody can approve one thing and have
another one run.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from safellm._core import jsontext
from safellm._core.policy import Policy
from safellm._core.tools import arguments as checks
from safellm._core.tools import schema as schemas
from safellm._core.tools.names import near
from safellm._core.tools.rules import STRICTNESS, ArgumentKind, ToolAction, ToolRule, rule_for
from safellm._core.tools.shapes import CLIENT_RUN, Definition, SeenCall
from safellm.errors import Reason, Refused

NAME: Final = "tools"
_DEPTH: Final = 64
_LONGEST_NAME: Final = 64
_SHOWN: Final = 2  # definitions named in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """A call that a person is asked about.

    Attributes:
        tool: Its name.
        arguments: What it would be called with.
        shown: The arguments as they can be shown anywhere: JSON with every character that isn't plain ASCII escaped.
        digest: SHA-256 of name and arguments, hex; approval holds for just this.
        why: Why somebody is asked, in words.
        id: The provider's name of the call; may be empty.
    """

    tool: str
    arguments: Any
    shown: str
    digest: str
    why: str
    id: str = ""


class Toolbox(Protocol):
    """What the gate asks of the world."""

    def rule(self, name: str) -> ToolRule | None:
        """Return what the program's own code says of a tool (`@safellm.tool`), or None."""
        ...

    @property
    def has_rules(self) -> bool:
        """Whether the program's own code says anything of any tool."""
        ...

    def pins(self) -> Mapping[str, str]:
        """Return the digests that the program has pinned, by the tool's name."""
        ...

    def admit(self, name: str, *, most: int | None, most_of_all: int | None) -> bool | None:
        """Count a call in the run around it; False if there is no room, None if there is no run."""
        ...

    def resolve(self, root: str, path: str) -> str | None:
        """Return why a path leads out of its root on this machine, or None."""
        ...

    def approve(self, request: ToolRequest, seconds: int) -> bool:
        """Ask a person; anything but a clear yes is no. May block."""
        ...

    def is_clean(self, name: str) -> bool:
        """Return whether a conversation that the provider keeps is known to hold nothing of anybody else's."""
        ...

    def is_run_untrusted(self) -> bool:
        """Return whether text of others came into a run around this call."""
        ...

    def note_untrusted(self) -> None:
        """Note that text of others came into the runs around this call."""
        ...

    def note_clean(self, name: str) -> None:
        """Note that a conversation that the provider keeps holds nothing of anybody else's."""
        ...


def digest_of(tool: str, arguments: Any) -> str:
    """Return the SHA-256 of a call, hex: of its name and of its arguments as sorted JSON."""
    text = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def definition_digest(one: Definition) -> str:
    """Return what a definition is pinned by: name, description and schema."""
    text = json.dumps([one.name, one.description, one.schema], sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"


def shown(arguments: Any) -> str:
    """Return arguments as JSON in plain ASCII: nothing in it is hidden, drives a terminal or looks like something else."""
    return json.dumps(arguments, ensure_ascii=True, indent=2).replace("\x7f", "\\u007f")


@dataclass(slots=True, kw_only=True)
class Gate:
    """Judges the calls of one answer.

    Args:
        policy: What holds.
        toolbox: The world.
        declared: The functions that the request declares, by name.
        hosted: Tools of the provider that it declares.
        past: Names of calls that the request tells of.
        untrusted: Text of others is in the conversation.
        noted: Reasons for which a call would have been refused; only in observe mode.
    """

    policy: Policy
    toolbox: Toolbox
    declared: Mapping[str, Definition]
    hosted: AbstractSet[str] = frozenset()
    past: Counter[str] = field(default_factory=Counter)
    untrusted: bool = False
    noted: list[str] = field(default_factory=list)
    passed: int = 0
    approved: list[str] = field(default_factory=list)
    refused: Refused | None = None
    refused_tool: str = ""
    _judged: set[tuple[str, str]] = field(default_factory=set)
    _here: Counter[str] = field(default_factory=Counter)

    @property
    def may_wait(self) -> bool:
        """Whether judging may wait for a person or the disk."""
        policy = self.policy
        return not policy.observes and (policy.is_strict or bool(policy.tools) or self.toolbox.has_rules)

    def rule(self, name: str) -> tuple[ToolRule, bool]:
        """Return what holds for a tool, and whether anybody said so."""
        found, is_listed = effective_rule(self.policy, self.toolbox, name)
        bare = name.partition(".")[2] if name not in self.declared else ""
        if bare:  # of a toolset: a program that looks at the bare name alone would run its own function of that name
            own, is_own = effective_rule(self.policy, self.toolbox, bare)
            if is_own:
                return both(found, own), True
        return found, is_listed

    def is_free(self, name: str) -> bool:
        """Return whether calls of a tool pass by its name alone: it is declared, and nobody said anything of any tool."""
        limits = self.policy.tool_calls
        if self.may_wait or limits.arguments == "all" or limits.per_answer or limits.per_run:
            return False
        try:
            self._check_declared(name)
        except Refused:
            return False
        return True

    def judge(self, call: SeenCall) -> None:
        """Let a call pass, or not.

        Raises:
            Refused: with a reason `tool.…`.
        """
        if self.refused is not None:
            raise self.refused
        try:
            self._judge(call)
        except Refused as error:
            if not self.policy.observes:
                self.refused, self.refused_tool, self.passed = error, call.name, 0
                raise
            self.noted.append(str(error.reason))

    def keep(self, name: str) -> None:
        """Note what is known of the conversation, which the provider may keep under this name."""
        if not self.untrusted:
            self.toolbox.note_clean(name)
        elif self.may_wait:
            self.toolbox.note_untrusted()

    def _judge(self, call: SeenCall) -> None:
        name = call.name
        self._check_declared(name)
        rule, is_listed = self.rule(name)
        if rule.action is ToolAction.DENY:
            raise denied(name)
        read, value = self._read(call, rule)
        mark = (call.id, digest_of(name, value))
        if mark in self._judged and call.id:
            return  # events that repeat a call whole
        if is_listed or self.policy.tool_calls.arguments == "all" or self.policy.is_strict:
            self._check_arguments(call, rule, value, read)
        self._count(name, rule)
        why = self._why_ask(rule)
        if why is not None and not self.policy.observes:
            self._ask(call, value, mark[1], why)
        self._judged.add(mark)
        self.passed += 1

    def _check_declared(self, name: str) -> None:
        if self.policy.tool_calls.undeclared == "allow" or not (self.declared or self.hosted):
            if not name:
                raise _refused("The model calls a tool without a name", Reason.TOOL_UNKNOWN, "Ask again.")
            return
        if name in self.declared or name in self.hosted:
            return
        if name in CLIENT_RUN.values() and any(one.startswith(name) for one in self.hosted):
            return
        family, member, _ = name.partition(".")
        if member and any(one.startswith(f"{family}_toolset_") for one in self.hosted):
            return  # `browser.navigate`: the provider says which members a toolset has
        like = near(name, self.declared)
        hint = f" (it looks like {_named(like)})" if like is not None else ""
        raise _refused(
            f"The model calls the tool {_named(name)}, which the request doesn't declare{hint}",
            Reason.TOOL_UNKNOWN,
            "Ask again, or set tool_calls.undeclared = 'allow' if your program knows what to do with it.",
        )

    def _read(self, call: SeenCall, rule: ToolRule) -> tuple[bool, Any]:
        """Return whether the arguments are well-formed, and what they are: the text itself where they are not."""
        given = call.arguments
        if call.free_form or not isinstance(given, str):
            return True, {} if given is None else given
        if not given.strip():
            return True, {}
        if len(given) > rule.max_bytes:
            return False, given
        try:
            return True, jsontext.loads(given.encode("utf-8", "surrogatepass"), max_depth=_DEPTH)
        except jsontext.Malformed:
            return False, given

    def _check_arguments(self, call: SeenCall, rule: ToolRule, value: Any, read: bool) -> None:
        check_arguments(
            call.name,
            value,
            rule,
            self.declared.get(call.name),
            self.policy,
            self.toolbox,
            well_formed=read,
            free_form=call.free_form,
        )

    def _count(self, name: str, rule: ToolRule) -> None:
        limits = self.policy.tool_calls
        self._here[name] += 1
        if _over(self._here[name], rule.per_answer) or _over(self._here.total(), limits.per_answer):
            raise _refused(
                f"The answer calls {_named(name)} more often than it may", Reason.TOOL_LIMIT, "Raise per_answer."
            )
        fits = self.toolbox.admit(name, most=rule.per_run, most_of_all=limits.per_run)
        if fits is None:
            count, total = self.past[name] + self._here[name], self.past.total() + self._here.total()
            fits = not (_over(count, rule.per_run) or _over(total, limits.per_run))
        if not fits:
            raise _refused(
                f"{_named(name)} was called as often as it may be in one run", Reason.TOOL_LIMIT, "Raise per_run."
            )

    def _why_ask(self, rule: ToolRule) -> str | None:
        if rule.action is ToolAction.ASK:
            return "the policy says that somebody is asked"
        has_effect = self.policy.is_strict if rule.effect is None else rule.effect
        if has_effect and self.untrusted:
            return "it changes or sends something, and text of others is in the conversation"
        return None

    def _ask(self, call: SeenCall, value: Any, digest: str, why: str) -> None:
        request = ToolRequest(tool=call.name, arguments=value, shown=shown(value), digest=digest, why=why, id=call.id)
        if not self.toolbox.approve(request, self.policy.tool_calls.approval_seconds):
            raise not_approved(call.name, why)
        self.approved.append(digest)


def effective_rule(policy: Policy, toolbox: Toolbox, name: str) -> tuple[ToolRule, bool]:
    """Return what holds for a tool, and whether anybody named it: the policy and the program's code, each may only tighten."""
    found, _ = rule_for(name, policy.tools)
    own = toolbox.rule(name)
    if found is None:
        if policy.is_strict:  # what the policy doesn't name is denied, whatever code says
            return ToolRule(action=ToolAction.DENY), False
        return (ToolRule(), False) if own is None else (own, True)
    return (found if own is None else both(found, own)), True


def both(one: ToolRule, other: ToolRule) -> ToolRule:
    """Return a rule that allows what both allow."""
    return one.model_copy(
        update={
            "action": max(one.action, other.action, key=STRICTNESS.index),
            "effect": other.effect
            if one.effect is None
            else one.effect
            if other.effect is None
            else one.effect or other.effect,
            "trust": "own" if one.trust == other.trust == "own" else "untrusted",
            "arguments": {**other.arguments, **one.arguments},
            "per_answer": _least(one.per_answer, other.per_answer),
            "per_run": _least(one.per_run, other.per_run),
            "max_bytes": min(one.max_bytes, other.max_bytes),
        }
    )


def check_arguments(  # noqa: PLR0913 - a call, what was declared, and what holds
    name: str,
    value: Any,
    rule: ToolRule,
    definition: Definition | None,
    policy: Policy,
    toolbox: Toolbox,
    *,
    well_formed: bool = True,
    free_form: bool = False,
) -> None:
    """Refuse arguments that aren't what the definition and the rule say.

    Raises:
        Refused: `tool.arguments`.
    """
    if not well_formed or (free_form and (not isinstance(value, str) or len(value) > rule.max_bytes)):
        raise _bad_arguments(name, "they are no JSON, too large, or have a key twice")
    if free_form:
        value = {"input": value}
    elif not isinstance(value, dict):
        raise _bad_arguments(name, "they are no object")
    elif policy.tool_calls.arguments != "none" and definition is not None and definition.schema is not None:
        _check_schema(name, value, definition.schema)
    for key, one in rule.arguments.items():
        if key not in value or (value[key] is None and _may_be_null(definition, key)):
            continue
        why = checks.problem(value[key], one, egress=policy.egress.origins, resolve=toolbox.resolve)
        if why is not None:
            raise _bad_arguments(name, f"{key!r}: {why}")


def _may_be_null(definition: Definition | None, key: str) -> bool:
    """Return whether an argument is declared as one that may be null."""
    schema = definition.schema if definition is not None else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    said = properties.get(key) if isinstance(properties, dict) else None
    forms = [said, *(said.get("anyOf") or ())] if isinstance(said, dict) else []
    return any(isinstance(one, dict) and (one.get("nullable") is True or one.get("type") == "null") for one in forms)


def check_reach(name: str, value: Any, rule: ToolRule, policy: Policy, lookup: checks.Lookup) -> None:
    """Refuse addresses whose names lead where nothing may go, right before the tool runs.

    Where the policy names a proxy, that resolves names, not this machine.

    Raises:
        Refused: `tool.arguments`.
    """
    egress = policy.egress
    for key, one in rule.arguments.items():
        if one.kind is not ArgumentKind.URL or key not in value or egress.proxy is not None:
            continue
        for url in value[key] if isinstance(value[key], list) else [value[key]]:
            if url is None:
                continue
            why = checks.reach_problem(
                url, one, egress=egress.origins, private=egress.private, strict=policy.is_strict, lookup=lookup
            )
            if why is not None:
                raise _bad_arguments(name, f"{key!r}: {why}")


def _check_schema(name: str, value: Any, schema: Any) -> None:
    try:
        schemas.check_schema(schema)
        found = schemas.problem(value, schema)
    except schemas.BadSchema as error:
        raise _bad_arguments(name, f"its schema can't be used: {error}") from None
    if found is not None:
        raise _bad_arguments(name, found)


def denied(name: str) -> Refused:
    """Return the refusal of a call that the policy, or strict mode without an entry, denies."""
    return _refused(
        f"The policy denies the tool {_named(name)}",
        Reason.TOOL_DENIED,
        'Say what it may do in the policy: [tools.NAME] with action = "allow" or "ask".',
    )


def not_approved(name: str, why: str) -> Refused:
    """Return the refusal of a call that nobody approved."""
    return _refused(
        f"Nobody approved the call of {_named(name)}; somebody is asked because {why}",
        Reason.TOOL_APPROVAL,
        "Set who is asked: safellm.approve_with(safellm.tools.console), or a function of your own.",
    )


def _bad_arguments(name: str, why: str) -> Refused:
    return _refused(
        f"The arguments of the tool {_named(name)} may not be used: {why}",
        Reason.TOOL_ARGUMENTS,
        "Ask again; the definition of the tool and its entry in the policy say what they may be.",
    )


def _refused(what: str, reason: Reason, remedy: str) -> Refused:
    return Refused(what, guard=NAME, reason=reason, remedy=remedy, sent=True)


def _over(count: int, most: int | None) -> bool:
    return most is not None and count > most


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _named(name: str) -> str:
    """Return a tool's name for a message: plain ASCII and short, as the model may have made it up."""
    return ascii(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...")
