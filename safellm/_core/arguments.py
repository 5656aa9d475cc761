"""Which parameter of a tool call a piece of streamed JSON belongs to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_DEPTH = 1  # parameters stand in the outermost object


@dataclass(slots=True)
class ParameterTracker:
    """Follows JSON text, in any chunking, and knows the outermost key whose value is being written."""

    parameter: str | None = None
    depth: int = 0
    in_string: bool = False
    escaped: bool = False
    expects_key: bool = False
    _key: str = ""

    def pass_by(self, text: str) -> None:
        """Take note of the next piece."""
        for character in text:
            if self.in_string:
                self._in_string(character)
            elif character == '"':
                self.in_string = True
                self._key = ""
            elif character in "{[":
                self.depth += 1
                self.expects_key = character == "{" and self.depth == _DEPTH
            elif character in "}]":
                self.depth -= 1
                self.expects_key = False
            elif character == "," and self.depth == _DEPTH:
                self.expects_key = True
                self.parameter = None

    @property
    def in_value(self) -> bool:
        """Whether the text now is inside a string that is a parameter's value, not its name."""
        return self.in_string and not self.expects_key and self.parameter is not None

    def _in_string(self, character: str) -> None:
        if self.escaped:
            self.escaped = False
        elif character == "\\":
            self.escaped = True
        elif character == '"':
            self.in_string = False
            if self.expects_key and self.depth == _DEPTH:
                self.parameter = self._key
                self.expects_key = False
            return
        if self.expects_key:
            self._key += character


def is_declared(tool: str | None, parameter: str | None, declared: Iterable[str]) -> bool:
    """Return whether a policy names this parameter as one that may get real values.

    Args:
        tool: The tool's name; None when it is unknown, and then nothing matches.
        parameter: The outermost key; None for a tool that takes plain text, which is then called `input`.
        declared: Entries `tool.parameter`; `*` stands for any name.
    """
    if not tool:
        return False
    name = parameter if parameter is not None else "input"
    for entry in declared:
        want_tool, _, want_parameter = entry.rpartition(".")
        if want_tool in (tool, "*") and want_parameter in (name, "*"):
            return True
    return False
