"""Everything that isn't Python: other languages by pattern, notebooks' cells, manifests, addresses and keys in any text."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from safellm.discover.findings import Finding
from safellm.discover.knowledge import DISTRIBUTIONS, PATTERNS, host_pattern
from safellm.discover.python_code import new_scope, search_python

# It guards the kernel as `safellm.install()` does.
_EXTENSION: Final = re.compile(r"(?m)^([ \t]*)%(?:re)?load_ext[ \t]+safellm[ \t]*$")
_MAGIC = re.compile(r"^(\s*)([%!].*)$")
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_KEY_RULES = (
    "openai", "anthropic", "google", "gemini", "azure-ai", "aws-bedrock", "groq", "xai", "perplexity", "cerebras", "nvidia",
    "replicate", "huggingface", "openrouter", "together", "fireworks", "voyage", "jina", "mistral", "cohere", "deepseek",
)  # fmt: skip


def search_text(text: str, file: str, suffix: str) -> list[Finding]:
    """Return what is found in a file of another language: clients by pattern, addresses."""
    found = [*_patterns(text, file, suffix), *_hosts(text, file)]
    return sorted(set(found))


def search_keys(text: str, file: str) -> list[Finding]:
    """Return where providers' keys stand in a file, as `safellm scan` finds them; what is told of one is whose it seems to be.

    A notebook is searched cell by cell, with its outputs.
    """
    from safellm.scan.leaks import find_leaks, secret_scanner  # noqa: PLC0415 - the engine loads where files are searched
    from safellm.scan.sources import from_text  # noqa: PLC0415

    scanner = secret_scanner()
    return [
        Finding(file=file, cell=source.cell, line=one.line, column=one.column, rule="key", what=one.rule)
        for source in from_text(text, file)
        for one in find_leaks(source, scanner)
        if one.rule.startswith(_KEY_RULES) and not one.is_link
    ]


def search_notebook(text: str, file: str) -> list[Finding]:
    """Return the findings of a Jupyter notebook (nbformat 3 and 4), cell by cell.

    Raises:
        ValueError: it is no notebook.
    """
    data = json.loads(text)
    cells = data.get("cells") or [cell for sheet in data.get("worksheets", ()) for cell in sheet.get("cells", ())]
    scope = new_scope()
    found: list[Finding] = []
    for number, cell in enumerate(cells, 1):
        source = _joined(cell.get("source", cell.get("input", "")))
        if cell.get("cell_type") == "code":
            try:
                found += search_python(_without_magic(source), file, cell=number, scope=scope)
            except (SyntaxError, ValueError):
                found += [_in_cell(one, number) for one in search_text(source, file, ".txt")]
    # `safellm.install()` in a later cell guards the kernel as well.
    return found


def search_manifest(text: str, file: str, name: str) -> list[Finding]:
    """Return the SDKs that a manifest names.

    Args:
        text: Of the manifest.
        file: Name for the findings.
        name: The file's own name, lower case: it says which kind of manifest it is.
    """
    if name == "package.json":
        return list(_package_json(text, file))
    if name == "go.mod":
        known = DISTRIBUTIONS["go"]
        return [
            _at(text, found.start(1), file, "dependency", found[1])
            for found in re.finditer(r"(?m)^\s*(?:require\s+)?([\w./-]+)\s+v", text)
            if any(found[1] == one or found[1].startswith(f"{one}/") for one in known)
        ]
    if name == "pyproject.toml":
        return list(_pyproject(text, file))
    if name in ("pipfile", "environment.yml", "environment.yaml", "setup.py", "setup.cfg") or name.startswith(
        "requirements"
    ):
        return list(_requirements(text, file))
    names = sorted(map(re.escape, DISTRIBUTIONS["other"]), key=len, reverse=True)
    pattern = "|".join(names).replace(":", r"(?::|</groupId>\s*<artifactId>)")  # Gradle's form and Maven's
    return [
        _at(text, found.start(), file, "dependency", re.sub(r"</groupId>\s*<artifactId>", ":", found[0]).lower())
        for found in re.finditer(rf"(?<![\w.-])(?:{pattern})(?![\w])", text, re.IGNORECASE)
    ]


def is_manifest(name: str) -> bool:
    """Return whether a file's name (lower case) is one of a manifest."""
    return (
        name in _MANIFESTS
        or (name.startswith("requirements") and name.endswith((".txt", ".in")))
        or name.endswith(".csproj")
    )


_MANIFESTS = frozenset({
    "package.json", "go.mod", "pyproject.toml", "pipfile", "environment.yml", "environment.yaml", "setup.py", "setup.cfg",
    "pom.xml", "build.gradle", "build.gradle.kts", "gemfile", "cargo.toml", "composer.json",
})  # fmt: skip


def _patterns(text: str, file: str, suffix: str) -> Iterator[Finding]:
    for suffixes, rule, pattern in PATTERNS:
        if suffix in suffixes:
            for found in _compiled(pattern).finditer(text):
                yield _at(text, found.start(1), file, rule, " ".join(found[1].split()))


def _hosts(text: str, file: str) -> Iterator[Finding]:
    for found in host_pattern().finditer(text):
        yield _at(text, found.start(), file, "url", found[0].lower())


def _package_json(text: str, file: str) -> Iterator[Finding]:
    data = json.loads(text)
    for part in ("dependencies", "devDependencies", "peerDependencies", "optionalDependencies"):
        names = data.get(part) if isinstance(data, dict) else None
        for name in names if isinstance(names, dict) else ():
            if name in DISTRIBUTIONS["npm"]:
                yield _at(text, max(text.find(f'"{name}"'), 0), file, "dependency", name)


def _pyproject(text: str, file: str) -> Iterator[Finding]:
    data: Any = tomllib.loads(text)
    project, tool = data.get("project", {}), data.get("tool", {})
    lists = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    lists += data.get("dependency-groups", {}).values()
    poetry = tool.get("poetry", {})
    lists += [list(poetry.get("dependencies", {}))]
    lists += [list(group.get("dependencies", {})) for group in poetry.get("group", {}).values()]
    for one in (one for names in lists for one in names if isinstance(one, str)):
        name = _requirement(one)
        if name in DISTRIBUTIONS["python"]:
            yield _at(text, max(text.find(one), 0), file, "dependency", name)


def _requirements(text: str, file: str) -> Iterator[Finding]:
    start = 0
    for line in text.splitlines(keepends=True):
        bare = line.strip().lstrip("-'\" ").rstrip("'\", ")
        name = _requirement(bare)
        if name in DISTRIBUTIONS["python"]:
            yield _at(text, start + len(line) - len(line.lstrip()), file, "dependency", name)
        start += len(line)


def _requirement(text: str) -> str:
    found = _REQUIREMENT.match(text)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _without_magic(source: str) -> str:
    """Return a cell's Python: lines of IPython's own become `pass`, so that line numbers stay."""
    if source.startswith("%%"):
        first, _, rest = source.partition("\n")
        source = (
            f"pass\n{rest}" if first.split()[0] in ("%%time", "%%timeit", "%%capture") else "\n" * source.count("\n")
        )
    source = _EXTENSION.sub(r"\1import safellm; safellm.install()", source)
    return "\n".join(_MAGIC.sub(r"\1pass", line) for line in source.split("\n"))


def _joined(value: Any) -> str:
    return "".join(one for one in value if isinstance(one, str)) if isinstance(value, list) else str(value or "")


def _in_cell(one: Finding, number: int) -> Finding:
    return Finding(file=one.file, cell=number, line=one.line, column=one.column, rule=one.rule, what=one.what)


def _at(text: str, start: int, file: str, rule: str, what: str) -> Finding:
    line = text.count("\n", 0, start) + 1
    return Finding(file=file, line=line, column=start - text.rfind("\n", 0, start), rule=rule, what=what)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
