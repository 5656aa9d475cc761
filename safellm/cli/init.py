"""`safellm init`: a policy file, written with comments after a few questions."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from safellm.cli.show import AsJson, print_json, say, tell
from safellm.errors import ConfigurationError
from safellm.stores.places import ensure_private
from safellm.stores.settings import check_file, policy_path

Word = TypeVar("Word", bound=StrEnum)


class Mode(StrEnum):
    """How much is done; as `mode` in the policy."""

    GUARD = "guard"
    STRICT = "strict"
    OBSERVE = "observe"


class Personal(StrEnum):
    """What happens to personal data."""

    MASK = "mask"
    ALLOW = "allow"


class Secrets(StrEnum):
    """What happens to keys and passwords in a request."""

    MASK = "mask"
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the questions found out."""

    mode: Mode
    personal: Personal
    secrets: Secrets
    monthly_usd: float
    model: str


_MODE: Final = "\nguard: hide, count, check, record. strict: refuse whatever is doubtful. observe: only record.\nMode"
_PERSONAL: Final = "\nMail addresses, phone and card numbers, ids. mask: hide them from the provider.\nPersonal data"
_SECRETS: Final = "\nmask: hide them and go on. block: refuse the call.\nKeys and passwords"
_MONEY: Final = "\nMost US dollars in a month (0: no limit)"
_MODEL: Final = "\nModel for `safellm ask` (empty: none)"
_NEXT: Final = (
    "Next: safellm keys import --look-around   (moves keys into the key store)",
    "      safellm doctor                      (checks that all guards work here)",
)


def init(  # noqa: PLR0913 - options of one command
    *,
    mode: Annotated[Mode | None, typer.Option("--mode", help="How much is done.")] = None,
    personal: Annotated[Personal | None, typer.Option("--personal", help="Personal data in requests.")] = None,
    secrets: Annotated[Secrets | None, typer.Option("--secrets", help="Keys and passwords in requests.")] = None,
    monthly_usd: Annotated[
        float | None, typer.Option("--monthly-usd", min=0, help="Most US dollars in a month; 0 for no limit.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="What `safellm ask` asks; empty for none.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Where to write. Default: your policy file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there; it is kept as .bak.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a few questions and write a policy file with comments."""
    usual = policy_path(os.environ)
    target = usual if file is None else file.absolute()
    if target.exists() and not force:
        raise ConfigurationError(
            f"There is a policy file already: {target}",
            remedy="Edit it, or replace it with --force (it is kept as .bak).",
        )
    given = {"mode": mode, "personal": personal, "secrets": secrets, "monthly_usd": monthly_usd, "model": model}
    if not yes and None in given.values() and not _can_ask():
        missing = ", ".join(f"--{name.replace('_', '-')}" for name, value in given.items() if value is None)
        raise ConfigurationError("There is no terminal to ask on", remedy=f"Give {missing}, or --yes for the defaults.")
    if yes or None not in given.values():
        answers = Answers(
            mode=mode or Mode.GUARD,
            personal=personal or Personal.MASK,
            secrets=secrets or Secrets.MASK,
            monthly_usd=monthly_usd or 0.0,
            model=model or "",
        )
    else:
        answers = _ask_all(mode, personal, secrets, monthly_usd, model)
    _write(target, _policy(answers))
    if as_json:
        print_json({"file": str(target)})
        return
    say(f"Written: {target}")
    if target != usual:
        # On a line of its own: it is copied.
        say(f"It counts where a variable names it: export SAFELLM_POLICY={shlex.quote(str(target))}")
    for line in _NEXT:
        say(line)


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _choose(question: str, given: Word | None, kind: type[Word]) -> Word:
    """Return the chosen word; the first of its kind is the default. Asks again until it is one of them."""
    words = [one.value for one in kind]
    while given is None:
        said = str(typer.prompt(f"{question} ({'/'.join(words)})", default=words[0], err=True)).strip().lower()
        given = next((one for one in kind if one.value == said), None)
    return given


def _ask_all(
    mode: Mode | None, personal: Personal | None, secrets: Secrets | None, usd: float | None, model: str | None
) -> Answers:
    tell("Press Enter for the answer in brackets. Everything can be changed in the file later.")
    return Answers(
        mode=_choose(_MODE, mode, Mode),
        personal=_choose(_PERSONAL, personal, Personal),
        secrets=_choose(_SECRETS, secrets, Secrets),
        monthly_usd=typer.prompt(_MONEY, default=0.0, type=float, err=True) if usd is None else usd,
        model=typer.prompt(_MODEL, default="", show_default=False, err=True) if model is None else model,
    )


def _policy(answers: Answers) -> str:
    """Return the file's text. Settings that stay at their default are there as comments."""
    limit = answers.monthly_usd > 0
    lines = [
        "# The policy of safellm. Every setting with its meaning: `safellm policy show`, docs/guards.md.",
        "# `safellm policy check` checks it after a change. Variables (SAFELLM_MODE=strict) come on top.",
        "",
        "# guard: hide, count, check and record. strict: refuse whatever is doubtful. observe: only record.",
        f'mode = "{answers.mode}"',
        "# What variables and code may tighten, but not loosen:",
        '# locked = ["redaction.enabled", "audit.mode"]',
        "",
        "[redaction]",
        "# mask: a placeholder goes out and the value comes back in the answer. remove: nothing comes back.",
        "# block: the call is refused. allow: it goes out.",
        f'default = "{answers.personal}"',
        "",
        "[redaction.types]",
        "# Keys, passwords, tokens, private keys:",
        f'SECRET = "{answers.secrets}"',
        '# EMAIL = "allow"',
        '# CREDIT_CARD = "block"',
        "",
        "[egress]",
        "# Servers besides the providers' own that keys and prompts may go to:",
        '# origins = ["https://llm.example.com"]',
        "",
        "# Calls that could go over a limit are refused before they are sent:",
        f"{'' if limit else '# '}[[budget.limits]]",
        f"{'' if limit else '# '}usd = {answers.monthly_usd if limit else 20.0:.2f}",
        f'{"" if limit else "# "}window = "month"',
        f"{'' if limit else '# '}warn_at = 0.8",
        "",
        "[audit]",
        "# required: a call that can't be recorded is refused. best_effort: it goes on. off: no trail.",
        'mode = "required"',
        "",
    ]
    if answers.model:
        lines += [
            "[ask]",
            "# What `safellm ask` asks when no model is named:",
            f"model = {json.dumps(answers.model)}",
            "",
        ]
    return "\n".join(lines)


def _write(target: Path, text: str) -> None:
    """Write the whole file or nothing; the file before it stays as .bak."""
    folder = ensure_private(target.absolute().parent)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".policy-", suffix=".toml")  # for its owner alone
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        problems = check_file(beside)
        if problems:
            raise ConfigurationError(f"The answers don't make a policy: {problems[0]}", remedy="Give other answers.")
        if target.exists():
            target.replace(target.with_name(target.name + ".bak"))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
