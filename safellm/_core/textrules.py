"""Rules of the policy's own: words and patterns that are found in requests, and what happens to them (`[[rules]]`)."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from safellm._core.placeholder import TYPE_NAME

MOST_WORDS: Final = 1000  # of one rule; an index of registered values holds a million
# Types that detectors give. What happens to them stands in `redaction.types`: a rule may find more of them, not let them pass.
DETECTED: Final = frozenset(
    {
        "ADDRESS", "BANK_ACCOUNT", "CREDIT_CARD", "CRYPTO", "DATE_OF_BIRTH", "DRIVER_LICENSE", "EMAIL", "IBAN", "IP_ADDRESS",
        "MAC_ADDRESS", "MEDICAL_ID", "NATIONAL_ID", "PASSPORT", "PHONE", "REGISTERED", "SECRET", "TAX_ID", "URL", "USERNAME",
        "US_SSN", "VIN",
    }
)  # fmt: skip
_TAKEN: Final = frozenset({"PLACEHOLDER", "ENCODED"})  # mean something else
TYPES: Final = DETECTED | {"ENCODED", "PERSON", "LOCATION", "ORGANIZATION", "SENSITIVE"}  # names need a model
_ALIKE: Final = 0.75  # of difflib: EMIAL is 0.8 like EMAIL
Word = Annotated[str, StringConstraints(min_length=2, max_length=200, strip_whitespace=True)]


def misspelt(kind: str, own: Collection[str] = ()) -> str | None:
    """Return the type of the detectors that a name was probably meant to be; None for a name that can be somebody's own.

    An action for a type that nothing finds would do nothing, and `EMIAL = "block"` would let every mail address go.

    Args:
        kind: The name, as in `redaction.types`.
        own: Types of the policy's own rules.
    """
    if kind in TYPES or kind in own:
        return None
    from difflib import get_close_matches  # noqa: PLC0415 - only when something is wrong

    near = get_close_matches(kind, sorted(TYPES), n=1, cutoff=_ALIKE)
    # What is longer by a word, such as CUSTOMER_EMAIL, is a name of its own.
    return near[0] if near and abs(len(near[0]) - len(kind)) <= 1 else None


class TextRule(BaseModel):
    """Words or a pattern that a request is searched for; exactly one of words and pattern."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$",
        description="Its name, as findings and `safellm redact --explain` show it.",
    )
    words: tuple[Word, ...] = Field(
        (), max_length=MOST_WORDS, description="Texts to be found; a space stands for any white space."
    )
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = Field(
        None, description="What to find, in RE2's syntax. With a group, the group is what is found."
    )
    type: str = Field(
        "",
        pattern=rf"^({TYPE_NAME})?$",
        description="What placeholders and records call it; default: from the name.",
    )
    action: Literal["mask", "remove", "block", "allow"] | None = Field(
        None, description="What happens to it: mask (the default), remove, block, or allow, which only counts it."
    )
    ignore_case: bool = Field(False, description="Find it in capitals and small letters alike.")
    whole_words: bool = Field(
        True, description="A word counts where no letter or digit touches it; false: also inside others."
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> TextRule:
        msg = None
        if bool(self.words) == (self.pattern is not None):
            msg = "a rule has either words or a pattern"
        elif self.kind in _TAKEN:
            msg = f"the type {self.kind} has another meaning; write another one"
        elif self.kind in DETECTED and self.action is not None:
            msg = f"{self.kind} is a type of the detectors: leave action out, and set redaction.types.{self.kind}"
        elif not self.whole_words and self.pattern is not None:
            msg = r"whole_words belongs to words; write \b into the pattern"
        if msg is not None:
            raise ValueError(msg)
        from safellm._core.detection.own import OwnRules, check_pattern  # noqa: PLC0415 - loads the engine

        if self.pattern is not None:
            check_pattern(self.pattern)
        else:
            OwnRules([self])
        return self

    @cached_property
    def kind(self) -> str:
        """The type of what it finds."""
        return self.type or self.name.upper().replace("-", "_")

    @property
    def rule_id(self) -> str:
        """What findings say found them."""
        return f"rules.{self.name}"


def check_together(rules: tuple[TextRule, ...]) -> None:
    """Check what several rules say of the same.

    Raises:
        ValueError: two have one name, or one type and two actions.
    """
    if len({one.name for one in rules}) < len(rules):
        msg = "two rules have the same name"
        raise ValueError(msg)
    actions: dict[str, str | None] = {}
    for one in rules:
        if actions.setdefault(one.kind, one.action) != one.action:
            msg = f"two rules of type {one.kind} have different actions"
            raise ValueError(msg)
