"""Tools that a model may call: a plain function with its schema, its checks and the gate at its execution; approvals; pins.

@safellm.tool(action="ask")
def delete(path: Annotated[str, safellm.tools.path("/srv/data")]) -> str:
    "Delete a file."
    ...

client.chat.completions.create(..., tools=[delete.openai()])
delete.run(call.function.arguments)   # checked once more, and approved for just these arguments
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, update_wrapper
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from safellm._core import jsontext
from safellm._core.policy import Policy
from safellm._core.tools import gate
from safellm._core.tools.gate import ToolRequest, definition_digest
from safellm._core.tools.names import repeated, same_looking
from safellm._core.tools.rules import ArgumentKind, ArgumentRule, ToolAction, ToolRule
from safellm._core.tools.shapes import Definition, read_definition
from safellm.errors import ConfigurationError, Reason, Refused
from safellm.stores.environment import read_environment
from safellm.stores.opening import open_under
from safellm.stores.places import find_places
from safellm.stores.tools import TOOLBOX, Approver, asking

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "Tool", "ToolRequest", "approve_with", "argv", "asking", "choice", "console", "open_under", "path", "pin_tools", "sql", "text",
    "tool", "tool_digest", "url",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")
_LONGEST_SHOWN = 8_000  # characters of arguments that a person can be expected to read
_DEPTH = 64


class Tool(Generic[P, R]):
    """A function as a tool. Call it like the function, or `run` it with a model's arguments; both pass the gate.

    Attributes:
        name: As the model calls it.
        description: What the model is told.
        schema: JSON Schema of its arguments.
        rule: What its code says it may do; the policy can only tighten it.
    """

    name: str
    description: str
    schema: dict[str, Any]
    rule: ToolRule

    def __init__(
        self, function: Callable[P, R], name: str | None, rule: ToolRule, names: Mapping[str, Any] | None = None
    ) -> None:
        update_wrapper(self, function)
        self._function = function
        self._signature = inspect.signature(function)
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.description = inspect.getdoc(function) or ""
        self._model, checks, self._hints = _model_of(self.name, function, self._signature, names)
        unknown = sorted(rule.arguments.keys() - self._model.model_fields.keys())
        if unknown:
            raise ConfigurationError(
                f"The tool {self.name!r} has no parameter {unknown[0]!r} that could be checked",
                remedy="Name one that it has.",
            )
        self.rule = rule.model_copy(update={"arguments": {**checks, **rule.arguments}})
        self.schema = _without_titles(self._model.model_json_schema())
        self.schema.pop("description", None)
        self._definition = Definition(name=self.name, description=self.description, schema=self.schema)
        TOOLBOX.add(self)

    @property
    def function(self) -> Callable[P, R]:
        """The tool as a plain function, for SDKs and frameworks that take functions; each call passes the gate."""
        if inspect.iscoroutinefunction(self._function):

            async def later(*args: Any, **kwargs: Any) -> Any:
                made: Any = self(*args, **kwargs)
                return await made

            plain: Any = later
        else:

            def now(*args: Any, **kwargs: Any) -> Any:
                return self(*args, **kwargs)

            plain = now
        update_wrapper(plain, self._function)
        parameters = [
            one.replace(annotation=self._hints.get(one.name, one.annotation))
            for one in self._signature.parameters.values()
        ]
        plain.__signature__ = self._signature.replace(parameters=parameters)
        plain.__annotations__ = {**plain.__annotations__, **self._hints}
        plain.__name__, plain.__doc__ = self.name, self.description
        made: Callable[P, R] = plain
        return made

    @property
    def digest(self) -> str:
        """What its definition is pinned by."""
        return definition_digest(self._definition)

    def openai(self) -> dict[str, Any]:
        """Return it as an entry of `tools` for chat completions."""
        return {"type": "function", "function": self._described("parameters")}

    def responses(self) -> dict[str, Any]:
        """Return it as an entry of `tools` for OpenAI's Responses."""
        return {"type": "function", **self._described("parameters")}

    def anthropic(self) -> dict[str, Any]:
        """Return it as an entry of `tools` for Anthropic's messages."""
        return self._described("input_schema")

    def gemini(self) -> dict[str, Any]:
        """Return it as an entry of `tools` for `google-genai`."""
        return {"function_declarations": [self._described("parameters_json_schema")]}

    def _described(self, key: str) -> dict[str, Any]:
        return {"name": self.name, "description": self.description, key: self.schema}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, if its arguments may be used.

        Raises:
            Refused: with a reason `tool.…`.
        """
        try:
            given = self._signature.bind(*args, **kwargs).arguments
            checked = self._model.model_validate(given)
            value = checked.model_dump(mode="json", exclude_unset=True)
        except TypeError:
            raise
        except ValueError as error:
            raise self._unfit(error) from None
        return self._admitted(checked, value)

    def run(self, arguments: str | bytes | Mapping[str, Any]) -> R:
        """Call the function with what a model wrote: JSON text, or what an SDK made of it.

        Raises:
            Refused: with a reason `tool.…`.
        """
        try:
            raw = arguments.encode() if isinstance(arguments, str) else arguments
            if not isinstance(raw, bytes):
                raw = jsontext.dumps(dict(raw))
            value = jsontext.loads(raw if raw.strip() else b"{}", max_depth=_DEPTH)
            checked = self._model.model_validate_json(jsontext.dumps(value), strict=True)
        except ValueError as error:
            raise self._unfit(error) from None
        return self._admitted(checked, value)

    def _admitted(self, checked: BaseModel, value: Any) -> R:
        values = {
            name: getattr(checked, name) for name in type(checked).model_fields if name in checked.model_fields_set
        }
        if inspect.iscoroutinefunction(self._function):
            return self._later(values, value)  # type: ignore[return-value]  # what the function returns: an awaitable
        self._admit(value)
        return self._function(**values)  # type: ignore[call-arg]  # bound by name

    async def _later(self, values: dict[str, Any], value: Any) -> Any:
        import anyio.to_thread  # noqa: PLC0415 - sync programs never need it

        await anyio.to_thread.run_sync(self._admit, value)
        made: Any = self._function(**values)  # type: ignore[call-arg]  # bound by name
        return await made

    def _admit(self, value: Any) -> None:
        """Let these arguments pass: the same checks as for a call in an answer, and an approval of just these.

        Raises:
            Refused: with a reason `tool.…`.
        """
        policy = _policy()
        if policy.observes:
            return
        rule, _ = gate.effective_rule(policy, TOOLBOX, self.name)
        if rule.action is ToolAction.DENY:
            raise gate.denied(self.name)
        gate.check_arguments(self.name, value, rule, self._definition, policy, TOOLBOX)
        gate.check_reach(self.name, value, rule, policy, TOOLBOX.lookup)
        digest = gate.digest_of(self.name, value)
        was_approved = TOOLBOX.redeem(digest)
        if rule.action is not ToolAction.ASK or was_approved:
            return
        why = "the policy says that somebody is asked"
        request = ToolRequest(tool=self.name, arguments=value, shown=gate.shown(value), digest=digest, why=why)
        if not (TOOLBOX.approve(request, policy.tool_calls.approval_seconds) and TOOLBOX.redeem(digest)):
            raise gate.not_approved(self.name, why)
        gate.check_reach(self.name, value, rule, policy, TOOLBOX.lookup)  # a person may have taken long

    def _unfit(self, error: ValueError) -> Refused:
        places = [".".join(map(str, one["loc"])) for one in error.errors()] if hasattr(error, "errors") else []
        return Refused(
            f"The arguments of the tool {self.name!a} may not be used: "
            + (f"{', '.join(map(ascii, places[:5]))} is not what is declared" if places else "they are no JSON object"),
            guard=gate.NAME,
            reason=Reason.TOOL_ARGUMENTS,
            remedy="Ask again; the tool's schema says what they may be.",
        )


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(*, name: str | None = None, **rule: Any) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **rule: Any) -> Any:
    """Make a function a tool: its schema from its type hints, its checks from them and from `rule`, its gate at each call.

    Args:
        function: Sync or async, with type hints that pydantic knows.
        name: As the model calls it; default: the function's.
        rule: As in the policy's `[tools.NAME]`: action, effect, trust, arguments, per_answer, per_run, max_bytes.

    Raises:
        ConfigurationError: a parameter has no name, or the rule has another form.
    """
    try:
        made = ToolRule.model_validate(rule)
    except ValueError:
        raise ConfigurationError(
            "The rule of a tool has another form",
            remedy="It takes what [tools.NAME] of the policy takes: see docs/tools.md.",
        ) from None

    def make(given: Callable[..., Any]) -> Tool[..., Any]:
        return Tool(given, name, made, names=sys._getframe(1).f_locals)  # noqa: SLF001 - as pydantic finds local types

    # Hints that are texts (PEP 563) may name what stands beside the function.
    return make if function is None else Tool(function, name, made, names=sys._getframe(1).f_locals)  # noqa: SLF001


def path(root: str) -> ArgumentRule:
    """Say that an argument is a file below a folder."""
    return ArgumentRule(kind=ArgumentKind.PATH, root=root)


def url(*origins: str, public: bool = False) -> ArgumentRule:
    """Say that an argument is an address of one of these origins, or of any public one."""
    return ArgumentRule(kind=ArgumentKind.URL, origins=origins, public=public)


def sql(*tables: str, functions: Iterable[str] = ()) -> ArgumentRule:
    """Say that an argument is one SQL statement that only reads; of these tables only, if any are named."""
    return ArgumentRule(kind=ArgumentKind.SQL, tables=tables, functions=tuple(functions))


def argv(*programs: str, options: Iterable[str] = ()) -> ArgumentRule:
    """Say that an argument is a command as a list of words: one of these programs, with these options."""
    return ArgumentRule(kind=ArgumentKind.ARGV, programs=programs, options=tuple(options))


def choice(*values: str) -> ArgumentRule:
    """Say that an argument is one of these."""
    return ArgumentRule(kind=ArgumentKind.CHOICE, values=values)


def text(max_length: int = 65_536) -> ArgumentRule:
    """Say that an argument is text without hidden characters and controls."""
    return ArgumentRule(kind=ArgumentKind.TEXT, max_length=max_length)


def approve_with(approver: Approver | None) -> None:
    """Set who is asked about calls that need approval, in all of this process; None: nobody, so that they are refused.

    Args:
        approver: Gets a `ToolRequest`; it returns True, or the request's digest, for yes. It is called in a thread of its own and
            may be async. Anything else, an error, or no answer in time, is no. `with safellm.tools.asking(approver):` sets it for
            one task or thread.
    """
    TOOLBOX.default_approver = approver


def console(request: ToolRequest) -> bool:
    """Ask on the terminal; no, unless somebody types yes. Without a terminal, or with more than a person would read: no."""
    streams = (sys.stdin, sys.stderr)
    if any(one is None or not one.isatty() for one in streams):
        return False
    head = f"Tool {request.tool!a}: {request.why}."
    if len(request.shown) > _LONGEST_SHOWN:
        sys.stderr.write(f"{head}\nIts arguments have {len(request.shown)} characters, too many to judge: refused.\n")
        return False
    # The tool and the length stand below the arguments again, where they can't be scrolled away.
    sys.stderr.write(f"{head}\n{request.shown}\n{head} {len(request.shown)} characters above, {request.digest[:12]}.\n")
    sys.stderr.write("Allow it? Type yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"


def tool_digest(definition: Any) -> str:
    """Return what a tool's definition is pinned by, for `pin` in the policy.

    Args:
        definition: An entry of `tools` in any dialect, a tool of an MCP server, or a `Tool`.

    Raises:
        ConfigurationError: it is none of these, or more than one tool.
    """
    found = _definitions([definition])
    if len(found) != 1:
        raise ConfigurationError("This is not one tool", remedy="Give one entry of a list of tools.")
    return definition_digest(found[0])


def pin_tools(tools: Iterable[Any], name: str = "default", *, again: bool = False) -> list[str]:
    """Pin a list of tools, such as an MCP server's: the first time it is trusted, from then on it may not change.

    Clients of this process refuse requests that declare a pinned tool in another form.

    Args:
        tools: Entries in any dialect; tools of the `mcp` package as they are.
        name: Of the list, such as the server's.
        again: What is given now counts from now on; for after somebody has read it.

    Returns:
        The digests, in the order of the tools.

    Raises:
        Refused: `tool.changed`, naming tools that were changed or are new; `tool.lookalike`.
        ConfigurationError: an entry is no tool.
    """
    found = _definitions(tools)
    names = [one.name for one in found]
    twice = repeated(names)
    pair = same_looking(names) if twice is None else (twice, twice)
    if pair is not None:
        raise Refused(
            f"The names of the tools {pair[0]!a} and {pair[1]!a} can be taken for each other",
            guard=gate.NAME,
            reason=Reason.TOOL_LOOKALIKE,
            remedy="Leave one of them out.",
        )
    from safellm.stores.toolpins import pinned  # noqa: PLC0415 - the disk only when something is pinned

    digests = {one.name: definition_digest(one) for one in found}
    changed = pinned(find_places(read_environment()).state, name, digests, again=again)
    if changed:
        raise Refused(
            f"These tools of the list {name!r} were changed, or are new, since it was pinned: {', '.join(map(ascii, changed[:5]))}",
            guard=gate.NAME,
            reason=Reason.TOOL_CHANGED,
            remedy="Read their descriptions and schemas; if they are right, pin them: safellm.pin_tools(tools, name, again=True).",
        )
    TOOLBOX.set_pins(digests)
    return list(digests.values())


def _definitions(tools: Iterable[Any]) -> list[Definition]:
    found: list[Definition] = []
    for one in tools:
        if isinstance(one, Tool):
            found.append(one._definition)  # noqa: SLF001 - our own
            continue
        plain = (
            one
            if isinstance(one, dict)
            else one.model_dump(mode="json", by_alias=True)
            if hasattr(one, "model_dump")
            else None
        )
        read = [made for made in read_definition(plain) if not made.hosted]
        if not read:
            raise ConfigurationError("This is no definition of a function", remedy="Give entries of a list of tools.")
        found += read
    return found


def _model_of(
    name: str, function: Callable[..., Any], signature: inspect.Signature, names: Mapping[str, Any] | None
) -> tuple[type[BaseModel], dict[str, ArgumentRule], dict[str, Any]]:
    """Return the pydantic model of a function's parameters, the checks that stand in their hints, and the hints without them."""
    from pydantic import ConfigDict, create_model  # noqa: PLC0415 - only programs with tools need it

    hints = get_type_hints(function, localns=dict(names or {}), include_extras=True)
    fields: dict[str, Any] = {}
    checks: dict[str, ArgumentRule] = {}
    for parameter in signature.parameters.values():
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if not is_named or parameter.name in ("self", "cls"):
            raise ConfigurationError(
                f"The tool {name!r} has a parameter without a name of its own",
                remedy="Name each parameter: no * and no /. Of a method, take the bound one: safellm.tool(thing.method).",
            )
        hint, found = _without_rules(hints.get(parameter.name, Any))
        if len(found) > 1:
            raise ConfigurationError(
                f"The parameter {parameter.name!r} of the tool {name!r} has two checks", remedy="Leave one of them."
            )
        checks.update((parameter.name, one) for one in found)
        fields[parameter.name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
    made = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    if any(one.alias is not None or one.validation_alias is not None for one in made.model_fields.values()):
        raise ConfigurationError(
            f"The tool {name!r} has a parameter with an alias, and checks go by names",
            remedy="Call the parameter what the model is to call it.",
        )
    return made, checks, {name: hint for name, (hint, _) in fields.items()}


def _without_rules(hint: Any) -> tuple[Any, list[ArgumentRule]]:
    """Return a hint without the checks in it, and them: of the argument, of one of its forms, or of each entry of a list.

    Deeper inside nobody would look at them; pydantic refuses such a value.
    """
    inner, *parts = get_args(hint) or (hint,)
    if get_origin(hint) is Annotated:
        inner, found = _without_rules(inner)
        found += [one for one in parts if isinstance(one, ArgumentRule)]
        kept = tuple(one for one in parts if not isinstance(one, ArgumentRule))
        return (Annotated[(inner, *kept)] if kept else inner), found
    if get_origin(hint) is list:
        inner, found = _without_rules(inner)
        return (list[inner] if found else hint), found  # type: ignore[valid-type]  # made at run time
    if get_origin(hint) in (Union, UnionType):
        forms = [_without_rules(one) for one in get_args(hint)]
        found = [rule for _, rules in forms for rule in rules]
        return (Union[tuple(form for form, _ in forms)] if found else hint), found  # noqa: UP007 - made at run time
    return hint, []


def _without_titles(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of names: a model reads the names themselves."""
    if isinstance(schema, dict):
        return {key: _without_titles(one) for key, one in schema.items() if key != "title" or not isinstance(one, str)}
    return [_without_titles(one) for one in schema] if isinstance(schema, list) else schema


def _policy() -> Policy:
    environ = {name: value for name, value in os.environ.items() if name.startswith(_READ)}
    return _loaded(tuple(sorted(environ.items())))


# The variables that decide where files are and what the policy says.
_READ = ("SAFELLM_", "XDG_", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")


@lru_cache(maxsize=8)
def _loaded(variables: tuple[tuple[str, str], ...]) -> Policy:
    """Return the policy of file and variables; read once, as a client's is."""
    from safellm.stores.settings import load_policy  # noqa: PLC0415 - only when a tool runs

    return load_policy(environ=dict(variables)).policy
