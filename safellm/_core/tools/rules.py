"""What the policy says of tools: `[tools.NAME]` for each of them, `[tools."*"]` for all others, `[tool_calls]` for every call."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from safellm._core.caveats import matches
from safellm._core.origin import parse_origin
from safellm.errors import ConfigurationError

ANY = "*"
Pin = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class ToolAction(StrEnum):
    """What happens to a call of a tool: it passes, a person is asked, or it is refused."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


# From the loosest to the strictest.
STRICTNESS = (ToolAction.ALLOW, ToolAction.ASK, ToolAction.DENY)


class ArgumentKind(StrEnum):
    """What an argument is, and so how it is checked."""

    PATH = "path"
    URL = "url"
    SQL = "sql"
    ARGV = "argv"
    CHOICE = "choice"
    TEXT = "text"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ArgumentRule(_Part):
    """What one argument of a tool may be."""

    kind: ArgumentKind = Field(
        description="path: a file below `root`; url: an address of `origins`; sql: one statement that only reads; argv: a list of "
        "words, its first one of `programs`; choice: one of `values`; text: up to `max_length` characters, nothing hidden."
    )
    root: str | None = Field(None, description="Of a path: the absolute folder that it stays in.")
    origins: tuple[str, ...] = Field((), description="Of a url: origins besides those of egress.origins.")
    public: bool = Field(False, description="Of a url: any https origin that is no private address.")
    programs: tuple[str, ...] = Field((), description="Of argv: names of programs.")
    options: tuple[str, ...] = Field((), description="Of argv: words that begin with '-' and may stand in it.")
    functions: tuple[str, ...] = Field((), description="Of sql: functions besides the common ones.")
    tables: tuple[str, ...] = Field((), description="Of sql: the only tables that may be read; none: all.")
    values: tuple[str, ...] = Field((), description="Of choice: all that it may be.")
    max_length: Annotated[int, Field(gt=0)] = Field(65_536, description="Characters of each text in it.")

    @model_validator(mode="after")
    def _is_complete(self) -> ArgumentRule:
        needed = {ArgumentKind.PATH: self.root, ArgumentKind.ARGV: self.programs, ArgumentKind.CHOICE: self.values}
        if self.kind in needed and not needed[self.kind]:
            names = {ArgumentKind.PATH: "root", ArgumentKind.ARGV: "programs", ArgumentKind.CHOICE: "values"}
            msg = f"an argument of kind {self.kind.value!r} needs {names[self.kind]!r}"
            raise ValueError(msg)
        if self.root is not None and not _is_absolute(self.root):
            msg = "root must be an absolute folder"
            raise ValueError(msg)
        for text in self.origins:
            try:
                parse_origin(text)
            except ConfigurationError as error:
                msg = f"{error.problem}. {error.remedy}"
                raise ValueError(msg) from None
        return self


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "\\\\")) or (path[1:3] in (":\\", ":/") and path[:1].isalpha())


class ToolRule(_Part):
    """What one tool may do."""

    action: ToolAction = Field(ToolAction.ALLOW, description="allow, ask (a person, see docs/tools.md) or deny.")
    effect: bool | None = Field(
        None,
        description="The tool changes or sends something: once untrusted text is in the conversation, each call of it needs "
        "approval. Not said: strict mode takes it for true.",
    )
    trust: Literal["untrusted", "own"] = Field(
        "untrusted",
        description="What its results are; 'own' for a tool that gives nothing of anybody else's, such as a clock.",
    )
    pin: Pin | None = Field(
        None, description="Digest of its definition (`safellm.tool_digest`); another definition is refused."
    )
    arguments: dict[str, ArgumentRule] = Field(default_factory=dict, description="Checks of single arguments, by name.")
    per_answer: Annotated[int, Field(gt=0)] | None = Field(None, description="Calls of it in one answer.")
    per_run: Annotated[int, Field(gt=0)] | None = Field(
        None,
        description="Calls of it in one `safellm.run`; without one, in what the request tells of the conversation.",
    )
    max_bytes: Annotated[int, Field(gt=0)] = Field(1 << 20, description="Largest arguments of one call.")


class ToolCalls(_Part):
    """What holds for the calls of all tools."""

    undeclared: Literal["deny", "allow"] = Field(
        "deny", description="A call of a function that the request doesn't declare, when it declares any."
    )
    arguments: Literal["all", "listed", "none"] = Field(
        "listed",
        description="Which arguments are checked against the declared JSON Schema, in which keys that it doesn't list are refused: "
        "those of all tools, of tools with an entry in `tools` (strict mode: all), or none.",
    )
    look_alikes: Literal["deny", "allow"] = Field(
        "deny", description="A tool whose name looks like another one's, and a name that stands twice."
    )
    per_answer: Annotated[int, Field(gt=0)] | None = Field(None, description="Calls of all tools in one answer.")
    per_run: Annotated[int, Field(gt=0)] | None = Field(None, description="Calls of all tools, as in a tool's entry.")
    approval_seconds: Annotated[int, Field(gt=0, le=3600)] = Field(
        300, description="How long a person may take to decide; then it is no."
    )


def rule_for(name: str, rules: Mapping[str, ToolRule]) -> tuple[ToolRule | None, bool]:
    """Return the rule of a tool and whether it is the tool's own: its name, else the longest pattern that fits, else None."""
    found = rules.get(name)
    if found is not None and name != ANY:
        return found, True
    patterns = [one for one in rules if ANY in one and matches(one, name)]
    if not patterns:
        return None, False
    best = max(patterns, key=len)
    return rules[best], best != ANY


def stricter(one: ToolAction, other: ToolAction) -> ToolAction:
    """Return the stricter of two actions."""
    return max(one, other, key=STRICTNESS.index)
