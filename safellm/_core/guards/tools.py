"""Stage 6: what a request declares as tools, and the gate that its answer's calls will pass (THREATS A.1, A.6).

A definition is refused before the model sees it: one that was changed since it was pinned, a name that stands twice or looks like
another one, a tool of the provider that the policy denies. Calls are judged when they come (`safellm._core.tools.gate`).
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from safellm._core.call import Call
from safellm._core.injection.entered import TOOL
from safellm._core.tools.gate import NAME as NAME  # noqa: PLC0414 - the guard's name, as other guards have it
from safellm._core.tools.gate import Gate, Toolbox, definition_digest, effective_rule
from safellm._core.tools.names import near, repeated, same_looking
from safellm._core.tools.rules import ANY, ToolAction
from safellm._core.tools.shapes import CLIENT_RUN, Definition, declares_any, definitions, past_calls
from safellm.errors import Reason, Refused


def guard(call: Call) -> None:
    """Check the tools that a request declares, and prepare the gate for its answer.

    Raises:
        Refused: with a reason `tool.…`.
    """
    box, policy, value, before = call.toolbox, call.policy, call.body.value, call.head.declared
    said = declares_any(value) or before is not None
    if box is None or not (said or policy.tools or policy.is_strict or box.has_rules):
        return
    found = definitions(value)
    functions = {one.name: one for one in found if not one.hosted}
    hosted = frozenset(one.name for one in found if one.hosted)
    if found or before is None:
        call.gate = Gate(policy=policy, toolbox=box, declared=functions, hosted=hosted)
    else:
        call.gate = Gate(policy=policy, toolbox=box, declared=before.functions, hosted=before.hosted)
    _look_back(call, call.gate, box)
    if policy.tool_calls.look_alikes == "deny":
        _check_names(call, [one.name for one in found if not one.hosted], hosted, box)
    for one in found:
        _check_pin(call, one, box)
        if one.hosted and not _is_run_here(one.name):
            _check_hosted(call, one.name, box)


def _look_back(call: Call, gate: Gate, box: Toolbox) -> None:
    """Find what the request tells of the conversation, as far as any rule asks for it."""
    if not gate.may_wait:
        return
    gate.past = Counter(past_calls(call.body.value))
    known_as, _ = call.tools.adapter.conversation(call.body.value, call.head.path)
    gate.untrusted = (
        any(_is_untrusted(call, source, box) for source in call.untrusted_sources)
        or any(not _is_run_here(name) for name in gate.hosted)
        or (known_as is not None and not box.is_clean(known_as))
        or box.is_run_untrusted()
    )
    if gate.untrusted:
        box.note_untrusted()


def _is_untrusted(call: Call, source: str, box: Toolbox) -> bool:
    """Return whether text of a source counts as somebody else's: all but results of tools that say otherwise of themselves."""
    kind, _, name = source.partition(":")
    return kind != TOOL or effective_rule(call.policy, box, name)[0].trust == "untrusted"


def _is_run_here(hosted: str) -> bool:
    """Return whether the program itself runs a tool that the provider describes."""
    return hosted.startswith(_RUN_HERE)


_RUN_HERE = (*CLIENT_RUN.values(), "bash", "text_editor", "str_replace", "memory", "browser_toolset")


def _check_names(call: Call, names: list[str], hosted: Iterable[str], box: Toolbox) -> None:
    twice = repeated(names)
    if twice is not None:
        raise _refused(
            f"The tool {twice!a} is declared twice", Reason.TOOL_LOOKALIKE, "Give each tool a name of its own."
        )
    pair = same_looking([*names, *hosted])
    if pair is None:
        # Who is listed by name is meant; who isn't, and is one letter away from it, may be taken for it.
        listed = {*(name for name in call.policy.tools if ANY not in name), *box.pins()}
        others = [(name, like) for name in names if name not in listed and (like := near(name, listed)) is not None]
        pair = others[0] if others else None
    if pair is not None:
        raise _refused(
            f"The names of the tools {pair[0]!a} and {pair[1]!a} can be taken for each other",
            Reason.TOOL_LOOKALIKE,
            "Rename one, list both in the policy if they are meant (as [tools.NAME]), or set tool_calls.look_alikes = 'allow'.",
        )


def _check_pin(call: Call, one: Definition, box: Toolbox) -> None:
    rule, _ = effective_rule(call.policy, box, one.name)
    wanted = {pin for pin in (rule.pin, box.pins().get(one.name)) if pin is not None}
    if wanted and wanted != {definition_digest(one)}:
        raise _refused(
            f"The definition of the tool {one.name!a} isn't the one that was pinned",
            Reason.TOOL_CHANGED,
            "Read the new one; if it is right, pin it: safellm.pin_tools(tools, again=True), or `pin` in the policy.",
        )


def _check_hosted(call: Call, name: str, box: Toolbox) -> None:
    rule, _ = effective_rule(call.policy, box, name)
    if rule.action is not ToolAction.ALLOW:
        raise _refused(
            f"The policy doesn't allow the provider's tool {name!a}, and nobody can be asked about what the provider does",
            Reason.TOOL_DENIED,
            f'Leave it out, or allow it: [tools."{name}"] action = "allow".',
        )


def _refused(what: str, reason: Reason, remedy: str) -> Refused:
    return Refused(what, guard=NAME, reason=reason, remedy=remedy)
