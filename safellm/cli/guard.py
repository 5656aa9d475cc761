"""`safellm guard`: own guards and detectors: what is there, and a package to begin with."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from safellm.cli.show import AsJson, cell, make_console, make_table, print_json, say
from safellm.errors import ConfigurationError

app = typer.Typer(
    help="Guards and detectors of your own: see what is installed, begin a new one.", no_args_is_help=True
)

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


class Kind(StrEnum):
    """What a plug-in does."""

    GUARD = "guard"
    DETECTOR = "detector"


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What the policy will call it: small letters, digits and hyphens.")],
    *,
    kind: Annotated[
        Kind, typer.Option(help="guard: refuses or changes whole calls; detector: finds values to hide.")
    ] = Kind.GUARD,
    folder: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
    json: AsJson = False,
) -> None:
    """Write a small package with a test that passes: the beginning of a guard or detector of your own.

    Nothing that is there is overwritten.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            "A plug-in's name is made of small letters, digits and single hyphens", remedy="For example: topic-list."
        )
    module = "safellm_" + name.replace("-", "_")
    target = folder / f"safellm-{name.replace('_', '-')}"
    names = {
        "name": name,
        "module": module,
        "class_name": "".join(part.capitalize() for part in re.split("[-_]", name)),
        "package": target.name,
        "kind": str(kind),
        "type": name.replace("-", "_").upper()[:32],
    }
    files = {
        "pyproject.toml": _PROJECT,
        f"{module}.py": _MODULES[kind],
        f"test_{module}.py": _TESTS[kind],
    }
    try:
        target.mkdir(parents=True)
        for file, text in files.items():
            (target / file).write_text(_filled(text, names), "utf-8")
    except FileExistsError:
        raise ConfigurationError(f"{target} is there already", remedy="Take another name or --folder.") from None
    except OSError as error:
        raise ConfigurationError(
            f"{target} can't be written ({error.strerror})", remedy="Take another --folder."
        ) from None
    if json:
        print_json({"folder": str(target), "files": list(files)})
        return
    say(f"Written: {target} ({', '.join(files)})")
    say(
        f"Try it:    cd {target} && python -m pytest\n"
        "Install:   python -m pip install -e .\n"
        f'Enable it: plugins = ["{name}"]     in the policy, or safellm={{"plugins": ["{name}"]}} in code'
    )


@app.command("list")
def list_(*, json: AsJson = False) -> None:
    """Show the installed guards and detectors, and which of them the policy uses."""
    from safellm.plugins import offered
    from safellm.stores.environment import read_environment
    from safellm.stores.settings import load_policy

    enabled = load_policy(environ=read_environment()).policy.plugins
    found = offered()
    missing = [name for name in enabled if name not in {one.name for one in found}]
    rows = [
        *((one.name, one.kind, one.name in enabled, one.source, one.target) for one in found),
        *((name, "missing", True, "", "") for name in missing),
    ]
    if json:
        print_json([dict(zip(("name", "kind", "enabled", "source", "target"), row, strict=True)) for row in rows])
    elif not rows:
        say("No guards or detectors of your own are installed. Begin one: safellm guard new NAME")
    else:
        table = make_table("name", "kind", "used", "from", "code")
        for name, kind, used, source, target in rows:
            table.add_row(cell(name), cell(kind), "yes" if used else "no", cell(source), cell(target))
        make_console().print(table)
    if missing:
        raise ConfigurationError(
            f"The policy enables what isn't installed: {', '.join(missing)}",
            remedy="Install it, or take it out of `plugins`; until then no client is made.",
        )


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"@{name}@", value)
    return text


_PROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "@package@"
version = "0.1.0"
description = "A @kind@ for safellm"
requires-python = ">=3.11"
dependencies = ["safellm"]

[project.optional-dependencies]
test = ["pytest"]

# Installing this package changes nothing yet: the policy has to name it, plugins = ["@name@"].
[project.entry-points."safellm.@kind@s"]
@name@ = "@module@:@class_name@"

[tool.hatch.build.targets.wheel]
include = ["@module@.py"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_GUARD: Final = '''\
"""A guard for safellm: enabled by plugins = ["@name@"] in the policy."""

from __future__ import annotations

from safellm.plugins import AnswerView, Refuse, RequestView


class @class_name@:
    """Refuses calls that hold one of some words.

    Args:
        words: What is refused; from [plugin_settings.@name@] in the policy.
    """

    blocking = False  # it only computes; leave this out for one that waits for a model or a file

    def __init__(self, words: list[str] | None = None) -> None:
        self._words = [word.lower() for word in words or ["forbidden"]]

    def on_request(self, request: RequestView) -> Refuse | None:
        """Look at a request before it is sent."""
        return self._look([one.text for one in request.texts])

    def on_answer(self, answer: AnswerView) -> Refuse | None:
        """Look at an answer. Take this method out if you need it not: with it, streams are held until they are whole."""
        return self._look([one.text for one in answer.texts])

    def _look(self, texts: list[str]) -> Refuse | None:
        for text in texts:
            if any(word in text.lower() for word in self._words):
                # Say why, but never quote the text: errors and records must not hold it.
                return Refuse("The text holds a word that isn't allowed here", "Write it in other words.")
        return None
'''

_DETECTOR: Final = '''\
"""A detector for safellm: enabled by plugins = ["@name@"] in the policy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from safellm.plugins import Found

# Python's `re` can take very long on some patterns and texts: keep it simple, without nested repetitions.
_NUMBER = re.compile(r"\\bC-[0-9]{4,8}\\b")


class @class_name@:
    """Finds numbers such as C-4711. They are hidden from the provider, and come back in the answer."""

    blocking = False  # it only computes; leave this out for one that waits for a model or a file

    def find(self, text: str) -> Iterator[Found]:
        """Return where they stand."""
        for match in _NUMBER.finditer(text):
            yield Found(match.start(), match.end(), "@type@")
'''

_GUARD_TEST: Final = '''\
"""The contract of guards: any text, any order, no leak, and an error stops the call."""

from safellm.testing.plugin_contract import GuardContract

from @module@ import @class_name@


class Test@class_name@(GuardContract):
    refuses = ("This is forbidden.",)
    passes = ("This is fine.",)
    refuses_answers = ("I say something forbidden.",)

    def make(self) -> @class_name@:
        return @class_name@()
'''

_DETECTOR_TEST: Final = '''\
"""The contract of detectors: any text, any order, no leak, and an error stops the call."""

from safellm.testing.plugin_contract import DetectorContract

from @module@ import @class_name@


class Test@class_name@(DetectorContract):
    finds = {"Customer C-4711 writes.": ["C-4711"]}
    passes = ("Vitamin C-3.", "ABC-47110")

    def make(self) -> @class_name@:
        return @class_name@()
'''

_MODULES: Final = {Kind.GUARD: _GUARD, Kind.DETECTOR: _DETECTOR}
_TESTS: Final = {Kind.GUARD: _GUARD_TEST, Kind.DETECTOR: _DETECTOR_TEST}
