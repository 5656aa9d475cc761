"""Load the policy: defaults, then the file, then `SAFELLM_*` variables, then arguments in code.

* The file is TOML: `SAFELLM_POLICY`, else `policy.toml` in the user's configuration folder; never in the working
  directory, which may be a stranger's repository (THREATS E.1). A file that is broken is an error, never ignored.
* Each setting has one variable: `redaction.enabled` is `SAFELLM_REDACTION_ENABLED`. Lists are `a,b`, tables `A=b,C=d`,
  or both as TOML. `SAFELLM_BUDGET_USD=5/day` and `SAFELLM_BUDGET_TOKENS=100000/hour` set a limit of the account
  `default`; `SAFELLM_REDACT=EMAIL=allow,PHONE=block` sets actions, and `SAFELLM_REDACT=EMAIL,PHONE` hides these types and
  secrets only. A variable that nobody knows is an error: a misspelt guard is a guard that is off.
* `redaction.types` is merged type by type; every other setting is replaced by the later place.
* `locked = true`, or a list of settings or sections, at the top of the file: variables and arguments may make these
  stricter, not looser (`policy_order.py`); what has no order can't be changed. Any lock also holds the mode.
  A lock binds whoever loads this file: it does not stop a program from naming another file.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safellm._core.policy import Budget, Policy
from safellm.errors import ConfigurationError
from safellm.stores.places import find_places
from safellm.stores.policy_layers import SETTINGS, Layer, read_arguments, read_file, read_variables
from safellm.stores.policy_order import get, is_as_strict

_LIMITS = "budget.limits"
_TYPES = "redaction.types"
_UNITS = ("tokens", "input_tokens", "output_tokens", "usd", "requests", "concurrency")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """The policy in force and where it comes from.

    Attributes:
        sources: For each dotted setting: `default`, `file PATH line N`, `variable SAFELLM_X` or `argument`; several,
            joined by ` + `, where values were merged.
        file: The policy file, if there is one.
        warnings: Faults of the file that only strict mode refuses.
    """

    policy: Policy
    sources: dict[str, str]
    file: Path | None
    warnings: tuple[str, ...] = ()


def load_policy(
    *, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None, path: Path | None = None
) -> LoadedPolicy:
    """Return the policy in force.

    Args:
        environ: The process's variables.
        overrides: Settings given in code, by dotted name (`"audit.mode"`), by variable-like name (`"audit_mode"`) or
            by section (`{"audit": {"mode": "off"}}` or `{"audit": Audit(mode="off")}`).
        path: The policy file; stands before `SAFELLM_POLICY`.

    Raises:
        ConfigurationError: anything is wrong; the message lists all problems, each with its place.
    """
    file = _find_file(environ, path)
    base = Layer(policy=Policy.model_validate({})) if file is None else read_file(file)
    later = [read_variables(environ), read_arguments(overrides or {})]
    problems = [problem for layer in (base, *later) for problem in layer.problems]
    if problems:
        raise _wrong(problems)
    sources = dict.fromkeys(SETTINGS, "default")
    start = _merged(Policy.model_validate({}), base, sources)
    final = start
    for layer in later:
        final = _merged(final, layer, sources)
    problems = [
        f"{sources[dotted]}: {dotted} is locked in {file} and may only become stricter"
        for dotted in sorted(base.locked)
        if not is_as_strict(dotted, start, final)
    ]
    problems += base.warnings if final.is_strict else []
    if problems:
        raise _wrong(problems)
    for warning in base.warnings:
        warnings.warn(warning, stacklevel=2)
    return LoadedPolicy(policy=final, sources=sources, file=file, warnings=tuple(base.warnings))


def check_file(path: Path) -> list[str]:
    """Return every problem of a policy file, each with file, line and, for a misspelt name, a suggestion."""
    layer = read_file(path.absolute())
    strict = layer.policy is not None and layer.policy.is_strict
    return [*layer.problems, *(layer.warnings if strict else ())]


def policy_path(environ: Mapping[str, str]) -> Path:
    """Return where the user's policy file is, or would be.

    Raises:
        ConfigurationError: `SAFELLM_POLICY` is a relative path, or there is no home folder.
    """
    named = environ.get("SAFELLM_POLICY", "").strip()
    if named:
        file = Path(named)
        if not file.is_absolute():
            # The same variable would mean another file in each folder, and one of these may be a stranger's.
            raise ConfigurationError(
                "SAFELLM_POLICY is a relative path", remedy='Give it in full: SAFELLM_POLICY="$PWD/policy.toml".'
            )
        return file
    return find_places(environ).config / "policy.toml"


def _find_file(environ: Mapping[str, str], path: Path | None) -> Path | None:
    if path is not None:
        return path.absolute()
    found = policy_path(environ)
    named = bool(environ.get("SAFELLM_POLICY", "").strip())
    return found if named or os.path.lexists(found) else None  # a dangling link is broken, not absent


def _merged(policy: Policy, layer: Layer, sources: dict[str, str]) -> Policy:
    """Return `policy` with the settings of a layer, and note their sources."""
    values: dict[str, Any] = {dotted: get(policy, dotted) for dotted in SETTINGS}
    for dotted, source in layer.sources.items():
        given = get(layer.policy, dotted) if layer.policy is not None else None
        if dotted == _TYPES and values[dotted]:
            values[dotted] = {**values[dotted], **given}  # type: ignore[dict-item]  # both are tables
            sources[dotted] += f" + {source}"
        else:
            values[dotted] = given
            sources[dotted] = source
    for budget, source in layer.shorthands:
        before = values[_LIMITS]
        values[_LIMITS] = _with_limit(before, budget)
        sources[_LIMITS] = f"{sources[_LIMITS]} + {source}" if before else source
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        *sections, name = dotted.split(".")
        here = tree
        for section in sections:
            here = here.setdefault(section, {})
        here[name] = value
    return Policy.model_validate(tree)


def _with_limit(limits: tuple[Budget, ...], new: Budget) -> tuple[Budget, ...]:
    """Return the limits with `new` in the place of the one of the same account, window and unit, if there is one."""

    def same(old: Budget) -> bool:
        units = [unit for unit in _UNITS if getattr(old, unit) is not None]
        plain = not (old.per or old.where or old.rate)
        return (
            plain
            and (old.name, old.window) == (new.name, new.window)
            and all(getattr(new, u) is not None for u in units)
        )

    return (*(old for old in limits if not same(old)), new)


def _wrong(problems: list[str]) -> ConfigurationError:
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    listed = "".join(f"\n- {problem}" for problem in problems)
    return ConfigurationError(
        f"The policy has {count}:{listed}",
        remedy="Correct it where it stands; `safellm policy check` looks at all of it again.",
    )
