"""The three places that settings come from, each read into a `Layer`: the policy file, variables, arguments.

A reader never stops at the first problem: it returns what it could use and every problem it found, each with its place.
No problem text repeats a value that somebody wrote, as it may be a key in the wrong line.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, ValidationError

from safellm._core.origin import check_proxy, parse_origin, webhook_target
from safellm._core.policy import Alert, Budget, Policy
from safellm._core.textrules import TextRule, misspelt
from safellm.errors import ConfigurationError
from safellm.stores.content.keys import parse_public
from safellm.stores.journal.keepers import check_place
from safellm.stores.policy_budget import budget_problems
from safellm.stores.policy_lines import Path as KeyPath
from safellm.stores.policy_lines import key_lines, line_of
from safellm.stores.vault.entry import check_name

PREFIX: Final = "SAFELLM_"
SELECTION: Final = "SAFELLM_REDACT"  # types and actions in one short variable
ALIASES: Final = {"SAFELLM_AUDIT": "audit.mode", "SAFELLM_LEDGER": "budget.ledger"}  # short names of variables
_ALWAYS: Final = ("SECRET", "REGISTERED")  # hidden by a selection as well, unless it names them
RESERVED: Final = frozenset(
    {
        "SAFELLM_POLICY",
        "SAFELLM_HOME",
        "SAFELLM_LOCAL_MODEL",
        "SAFELLM_PASSPHRASE_FILE",
        "SAFELLM_GRANT",
        "SAFELLM_BROKER",
    }
)
SHORTHANDS: Final = {"budget.usd": "usd", "budget.tokens": "tokens"}  # one amount per time instead of a table
_SHORTHAND: Final = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?) */ *(call|minute|hour|day|week|month|total)")
_FILE_BYTES: Final = 1024 * 1024  # a policy has a few kilobytes; a wrong path to something huge stops here


def _leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _leaves(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = kind
    return found


SETTINGS: Final = _leaves(Policy)  # dotted name -> type
VARIABLES: Final = {PREFIX + dotted.upper().replace(".", "_"): dotted for dotted in (*SETTINGS, *SHORTHANDS)}


@dataclass(slots=True, kw_only=True)
class Layer:
    """What one place says.

    Attributes:
        policy: The settings of this place over the defaults, checked; None when something is wrong.
        sources: For each dotted setting that is given here, where, in words.
        shorthands: Budgets given as `5/day`, and where.
        locked: Dotted settings that later layers may only tighten.
        problems: Everything that is wrong, in whole sentences with places.
        warnings: What is wrong only in strict mode.
    """

    policy: Policy | None = None
    sources: dict[str, str] = field(default_factory=dict)
    shorthands: list[tuple[Budget, str]] = field(default_factory=list)
    locked: frozenset[str] = frozenset()
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_file(path: Path) -> Layer:
    """Return what a policy file says; a file that can't be read is a problem, never an empty layer."""
    layer = Layer()
    text = _file_text(path, layer)
    if text is None:
        return layer
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        layer.problems.append(f"{path}:{line}: not TOML: {str(error).partition(' (at ')[0]}")
        return layer
    lines = key_lines(text)

    def place(key: KeyPath) -> str:
        return f"{path}:{line_of(lines, key) or 1}"

    def source(key: KeyPath) -> str:
        return f"file {path} line {line_of(lines, key) or 1}"

    if "locked" in data:
        _read_locks(data.pop("locked"), layer, place(("locked",)))
    _fill(layer, data, place=place, source=source)
    layer.problems.sort(key=lambda problem: int(problem.removeprefix(f"{path}:").partition(":")[0]))
    return layer


def read_variables(environ: Mapping[str, str]) -> Layer:
    """Return what the `SAFELLM_*` variables say; an empty variable counts as not set."""
    layer = Layer()
    data: dict[str, Any] = {}
    selected: set[str] = set()
    for variable in sorted(name for name in environ if name.startswith(PREFIX) and name not in RESERVED):
        dotted = VARIABLES.get(variable) or ALIASES.get(variable)
        text = environ[variable].strip()
        if variable == SELECTION:
            try:
                for setting, value in _selection(text).items():
                    selected.add(setting)
                    _put(data, setting, value)
            except ValueError as error:
                layer.problems.append(f"variable {variable}: {error}")
        elif dotted is None:
            layer.problems.append(f"variable {variable}: there is no such setting{_did_you_mean(variable, VARIABLES)}")
        elif text:
            try:
                _put(data, dotted, text if dotted in SHORTHANDS else _from_text(dotted, text))
            except ValueError as error:  # TOMLDecodeError is one
                layer.problems.append(f"variable {variable}: {str(error).partition(' (at ')[0]}")

    def place(key: KeyPath) -> str:
        dotted = _setting(key)
        written = PREFIX + dotted.upper().replace(".", "_")
        if not environ.get(written):
            alias = next(
                (name for name, setting in ALIASES.items() if setting == dotted and environ.get(name)), written
            )
            return f"variable {SELECTION if dotted in selected else alias}"
        return f"variable {written}"

    _fill(layer, data, place=place, source=place)
    return layer


def read_arguments(overrides: Mapping[str, object]) -> Layer:
    """Return what code says; a name is dotted, or written as a variable's without prefix, or a section's."""
    layer = Layer()
    data: dict[str, Any] = {}
    for name, value in overrides.items():
        given = value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        dotted = name if "." in name else VARIABLES.get(PREFIX + name.upper(), name)
        if "." not in dotted and dotted not in Policy.model_fields:
            near = _did_you_mean(name, [variable.removeprefix(PREFIX).lower() for variable in VARIABLES])
            layer.problems.append(f"argument: {name}: there is no such setting{near}")
            continue
        try:
            _put(data, dotted, dict(given) if isinstance(given, Mapping) else given)
        except ValueError as error:
            layer.problems.append(f"argument: {error}")
    _fill(layer, data, place=lambda _: "argument", source=lambda _: "argument")
    return layer


def setting_problems(policy: Policy) -> list[tuple[KeyPath, str]]:
    """Return what is wrong with values that have the right type, each with the path of its key."""
    found: list[tuple[KeyPath, str]] = []
    found += budget_problems(policy.budget)
    for name, origins in (("origins", policy.egress.origins), ("private", policy.egress.private)):
        for index, text in enumerate(origins):
            _try(lambda text=text: parse_origin(text), ("egress", name, index), found)  # type: ignore[misc]
    if policy.egress.proxy is not None:
        _try(lambda: check_proxy(policy.egress.proxy or ""), ("egress", "proxy"), found)
    if policy.keys.name is not None:
        _try(lambda: check_name(policy.keys.name or ""), ("keys", "name"), found)
    found += _place_problems(policy)
    own = {rule.kind for rule in policy.rules}
    for name in policy.redaction.types:
        if (meant := misspelt(name, own)) is not None:
            found.append((("redaction", "types", name), f"nothing finds this type; did you mean {meant!r}?"))
    for index, name in enumerate(policy.redaction.restore_tool_arguments):
        if not all(name.partition(".")):
            found.append((("redaction", "restore_tool_arguments", index), "write it as tool.parameter"))
    return found


def _place_problems(policy: Policy) -> list[tuple[KeyPath, str]]:
    """Return what is wrong with the files, folders and addresses that the policy names."""
    found: list[tuple[KeyPath, str]] = []
    if policy.egress.ca_bundle is not None and not Path(policy.egress.ca_bundle).is_absolute():
        found.append((("egress", "ca_bundle"), "this must be an absolute file"))
    if policy.audit.directory is not None and not Path(policy.audit.directory).is_absolute():
        found.append((("audit", "directory"), "this must be an absolute folder"))
    if policy.audit.content_key is not None:
        _try(lambda: parse_public(policy.audit.content_key or ""), ("audit", "content_key"), found)
    if policy.audit.webhook is not None:
        allowed = policy.egress.origins
        _try(lambda: webhook_target(policy.audit.webhook or "", allowed), ("audit", "webhook"), found)
    if policy.budget.webhook is not None:
        allowed = policy.egress.origins
        _try(lambda: webhook_target(policy.budget.webhook or "", allowed), ("budget", "webhook"), found)
    for index, place in enumerate(policy.audit.checkpoint_to):
        _try(lambda place=place: check_place(place, policy.egress.origins), ("audit", "checkpoint_to", index), found)  # type: ignore[misc]
    return found


def _try(check: Callable[[], object], path: KeyPath, found: list[tuple[KeyPath, str]]) -> None:
    try:
        check()
    except ConfigurationError as error:
        found.append((path, f"{error.problem}. {error.remedy}"))
    except ValueError:
        found.append((path, "this is malformed"))


def _fill(
    layer: Layer, data: dict[str, Any], *, place: Callable[[KeyPath], str], source: Callable[[KeyPath], str]
) -> None:
    """Check `data` and put it, or its problems, into the layer."""
    _take_shorthands(layer, data, place=place, source=source)
    policy, wrong = _checked(data)
    layer.problems += [f"{place(path)}: {_dotted(path)}: {what}" for path, what in wrong]
    if policy is None or layer.problems:
        return
    layer.policy = policy
    for dotted in SETTINGS:
        path = tuple(dotted.split("."))
        if _holds(data, path):
            layer.sources[dotted] = source(path)


def _checked(data: dict[str, Any]) -> tuple[Policy | None, list[tuple[KeyPath, str]]]:
    """Return the policy and all that is wrong: what has the wrong type is left out, and the rest checked too."""
    wrong: list[tuple[KeyPath, str]] = []
    rest = copy.deepcopy(data)
    while True:
        try:
            policy = Policy.model_validate(rest)
        except ValidationError as error:
            errors = error.errors(include_input=False, include_url=False, include_context=False)
        else:
            return policy, wrong + setting_problems(policy)
        before = len(wrong)
        for one in errors:
            path = tuple(part for part in one["loc"] if part != "[key]")
            what = _unknown(path) if one["type"] == "extra_forbidden" else one["msg"].removeprefix("Value error, ")
            if (path, what) not in wrong:
                wrong.append((path, what))
            _drop(rest, path)
        if len(wrong) == before:
            return None, wrong


def _drop(data: Any, path: KeyPath) -> None:
    *around, last = path
    for part in around:
        if isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            data = data.get(part) if isinstance(data, dict) else None
    if isinstance(data, dict):
        data.pop(last, None)


def _take_shorthands(
    layer: Layer, data: dict[str, Any], *, place: Callable[[KeyPath], str], source: Callable[[KeyPath], str]
) -> None:
    section = data.get("budget")
    for dotted, unit in SHORTHANDS.items():
        path = tuple(dotted.split("."))
        if not isinstance(section, dict) or unit not in section:
            continue
        for part in str(section.pop(unit)).split(","):
            found = _SHORTHAND.fullmatch(part.strip())
            try:
                budget = Budget.model_validate({unit: found[1].replace("_", ""), "window": found[2]}) if found else None
            except ValidationError:
                budget = None
            if budget is None or setting_problems(Policy.model_validate({"budget": {"limits": [budget]}})):
                example = "5/day" if unit == "usd" else "100000/hour"
                layer.problems.append(f"{place(path)}: {dotted}: write it as amount/window, for example {example}")
            else:
                layer.shorthands.append((budget, source(path)))


def _read_locks(value: object, layer: Layer, place: str) -> None:
    if isinstance(value, bool):
        layer.locked = frozenset(SETTINGS) if value else frozenset()
        return
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        layer.problems.append(f"{place}: locked: write true, or a list of settings such as ['redaction', 'audit.mode']")
        return
    locked: set[str] = set()
    for name in value:
        matching = {dotted for dotted in SETTINGS if dotted == name or dotted.startswith(f"{name}.")}
        if not matching:
            sections = {dotted.partition(".")[0] for dotted in SETTINGS}
            hint = _did_you_mean(name, [*SETTINGS, *sections])
            layer.problems.append(f"{place}: locked: there is no setting {name!r}{hint}")
        locked |= matching
    # In observe mode no guard acts, so a lock on anything is void unless the mode is held as well.
    layer.locked = frozenset(locked | {"mode"} if locked else locked)


def _file_text(path: Path, layer: Layer) -> str | None:
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        layer.problems.append(f"{path}: the policy file can't be read ({error.strerror or 'bad name'})")
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        layer.problems.append(f"{path}: the policy is not a regular file")
        return None
    with os.fdopen(descriptor, "rb") as file:
        layer.warnings += _too_open(status, path)
        raw = file.read(_FILE_BYTES + 1)
    if len(raw) > _FILE_BYTES:
        layer.problems.append(f"{path}: the policy file is larger than {_FILE_BYTES} bytes")
        return None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        layer.problems.append(f"{path}:{line}: the policy file is not UTF-8")
        return None


def _too_open(status: os.stat_result, path: Path) -> list[str]:
    """Say who else may change the file; POSIX only, as Windows keeps the user's folder to the user."""
    if os.name != "posix":
        return []
    found: list[str] = []
    # Many systems give each user a group of their own and make files writable for it.
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != os.getgid()):
        found.append(f"{path}: others may change the policy file; run `chmod go-w {path}`")
    if status.st_uid not in (0, os.getuid()):
        found.append(f"{path}: the policy file belongs to another user")
    return found


def _from_text(dotted: str, text: str) -> object:
    """Return the value that a variable's text stands for, as TOML would have it; numbers and booleans stay text."""
    kind = get_origin(SETTINGS[dotted])
    if kind not in (tuple, dict):
        return text
    if text[0] in "[{":
        parsed = tomllib.loads(f"value = {text}")
        if set(parsed) != {"value"}:
            msg = "write one TOML value on one line"
            raise ValueError(msg)
        return parsed["value"]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if dotted == "budget.limits":
        msg = "write it as TOML, for example [{usd = 5, window = 'day'}]"
        raise ValueError(msg)
    if kind is tuple:
        return parts
    pairs = [part.partition("=") for part in parts]
    if not all(middle for _, middle, _ in pairs):
        msg = "write it as NAME=value,NAME=value"
        raise ValueError(msg)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _selection(text: str) -> dict[str, object]:
    """Return what `SAFELLM_REDACT` sets: `EMAIL=allow,PHONE=block` changes these; `EMAIL,PHONE` hides nothing else but secrets."""
    types: dict[str, str] = {}
    only = False
    for part in (part.strip() for part in text.split(",")):
        name, equals, action = (piece.strip() for piece in part.partition("="))
        if name:
            types[name] = action if equals else "mask"
            only = only or not equals
    if not only:
        return {"redaction.types": types} if types else {}
    return {"redaction.types": {**dict.fromkeys(_ALWAYS, "mask"), **types}, "redaction.default": "allow"}


def _put(data: dict[str, Any], dotted: str, value: object) -> None:
    *sections, name = dotted.split(".")
    for section in sections:
        inner: Any = data.setdefault(section, {})
        if not isinstance(inner, dict):
            msg = f"{section} is given twice"
            raise ValueError(msg)  # noqa: TRY004 - the caller's text, not its type, is wrong
        data = inner
    if isinstance(value, dict) and isinstance(data.get(name), dict):
        data[name] |= value
    elif name in data:
        msg = f"{dotted} is given twice"
        raise ValueError(msg)
    else:
        data[name] = value


def _holds(data: object, path: KeyPath) -> bool:
    for part in path:
        if isinstance(data, BaseModel):
            return part in data.model_fields_set
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _setting(path: KeyPath) -> str:
    """Return the dotted name of the setting that a path points to or into."""
    names = [str(part) for part in path]
    for length in range(len(names), 0, -1):
        dotted = ".".join(names[:length])
        if dotted in SETTINGS or dotted in SHORTHANDS:
            return dotted
    return ".".join(names)


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


_OF_LISTS: Final[Mapping[object, type[BaseModel]]] = {"alerts": Alert, "rules": TextRule}


def _unknown(path: KeyPath) -> str:
    model: type[BaseModel] = Policy
    for part in path[:-1]:
        if isinstance(part, int):
            model = _OF_LISTS.get(path[0], Budget)
        elif part in model.model_fields:
            kind = model.model_fields[part].annotation
            model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model
    last = str(path[-1])
    elsewhere = [dotted for dotted in SETTINGS if dotted.rpartition(".")[2] == last]
    if elsewhere:
        return f"there is no such setting; did you mean {' or '.join(repr(dotted) for dotted in elsewhere)}?"
    around = _dotted(path[:-1])
    return "there is no such setting" + _did_you_mean(last, model.model_fields, f"{around}." if around else "")


def _did_you_mean(name: str, known: Iterable[str], before: str = "") -> str:
    import difflib  # noqa: PLC0415 - only when something is wrong

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {before + near[0]!r}?" if near else ""
