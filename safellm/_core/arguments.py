"""Which parameter of a tool call a piece of streamed JSON belongs to."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_DEPTH = 1  # parameters stand in the outermost object
_CONTEXT = 4096  # characters of a running string that are kept; more than any decision about a position looks at


@dataclass(slots=True)
class ParameterTracker:
    """Follows JSON text, in any chunking, and knows the outermost key whose value is being written."""

    parameter: str | None = None
    in_string: bool = False
    escaped: bool = False
    expects_key: bool = False
    _open: list[str] = field(default_factory=list)  # "{" and "[" that aren't closed yet
    _string: list[str] = field(default_factory=list)  # the string under way, as it is written

    def pass_by(self, text: str) -> None:
        """Take note of the next piece."""
        for character in text:
            if self.in_string:
                self._in_string(character)
            elif character == '"':
                self.in_string = True
                self._string.clear()
            elif character in "{[":
                self._open.append(character)
                self.expects_key = character == "{"
            elif character in "}]":
                del self._open[-1:]
                self.expects_key = False
            elif character == ",":
                self.expects_key = self._open[-1:] == ["{"]
                if len(self._open) == _DEPTH:
                    self.parameter = None

    @property
    def in_value(self) -> bool:
        """Whether the text now is inside a string that is a parameter's value or stands within it, not a name."""
        return self.in_string and not self.expects_key and self.parameter is not None

    @property
    def string(self) -> str:
        """The string under way, as it is written so far."""
        return "".join(self._string)

    def _in_string(self, character: str) -> None:
        if self.escaped:
            self.escaped = False
        elif character == "\\":
            self.escaped = True
        elif character == '"':
            self.in_string = False
            if self.expects_key:
                self.expects_key = False
                if len(self._open) == _DEPTH:
                    self.parameter = "".join(self._string)
            return
        self._string.append(character)
        if len(self._string) > 2 * _CONTEXT:
            del self._string[:_CONTEXT]


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
