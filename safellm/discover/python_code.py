"""Python, read as a syntax tree: what names stand for, where clients are made, whether safellm made them."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from safellm.discover.findings import Finding
from safellm.discover.knowledge import CLIENTS, FRAMEWORKS, WEAK_PACKAGES, host_pattern, matcher, package_of

_BEDROCK = frozenset({"bedrock-runtime", "bedrock-agent-runtime"})


@dataclass(slots=True)
class _Scope:
    """What the names of one file stand for. One scope for the file: enough to tell whose class is called."""

    names: dict[str, str] = field(default_factory=dict)  # local name: qualified name
    safe: set[str] = field(default_factory=set)  # names of values that safellm made
    installed: bool = False


def search_python(text: str, file: str, *, cell: int = 0, scope: object = None) -> list[Finding]:
    """Return the findings of Python source.

    Args:
        text: The source.
        file: Name for the findings.
        cell: Number of the notebook's cell.
        scope: From `new_scope`, shared by the cells of one notebook.

    Raises:
        SyntaxError: it is no Python of this interpreter's version.
    """
    tree = ast.parse(text)
    known = scope if isinstance(scope, _Scope) else _Scope()
    _learn(tree, known)
    found: list[tuple[Any, str, str]] = [*_imports(tree), *_calls(tree, known), *_urls(tree)]
    return [
        Finding(
            file=file, cell=cell, line=node.lineno, column=node.col_offset + 1, rule=rule, what=what,
            guarded=known.installed and rule in ("client", "framework", "url"),
        )
        for node, rule, what in found
    ]  # fmt: skip


def new_scope() -> object:
    """Return what the cells of one notebook share."""
    return _Scope()


def _learn(tree: ast.AST, scope: _Scope) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                scope.names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                scope.names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    # Values that safellm made, and what was made of them: twice, as a name may be used above its assignment.
    for _ in range(2):
        for node in ast.walk(tree):
            _learn_value(node, scope)


def _learn_value(node: ast.AST, scope: _Scope) -> None:
    if isinstance(node, ast.Call):
        name = _qualified(node.func, scope)
        if name in ("safellm.install", "safellm.auto.install"):
            scope.installed = True
    for target, value in _assigned(node):
        name = _dotted(target)
        if name and _is_safe(value, scope):
            scope.safe.add(name)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what a statement or expression gives a name to, and the value."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=False)
            else:
                yield target, node.value
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for one in node.items:
            if one.optional_vars is not None:
                yield one.optional_vars, one.context_expr


def _is_safe(value: ast.expr, scope: _Scope) -> bool:
    """Return whether an expression is, or holds, a value that safellm made."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call) and f"{_qualified(node.func, scope)}.".startswith("safellm."):
            return True
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = _dotted(node)
            if name and any(name == one or name.startswith(f"{one}.") for one in scope.safe):
                return True
    return False


def _imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str, str]]:
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        sdks = {sdk for module in modules if (sdk := package_of(module)) is not None and sdk not in WEAK_PACKAGES}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for sdk in sorted(sdks):
                yield node, "import", sdk


def _calls(tree: ast.AST, scope: _Scope) -> Iterator[tuple[ast.expr, str, str]]:
    clients, frameworks = matcher(CLIENTS), matcher(FRAMEWORKS)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _qualified(node.func, scope)
        if name is None:
            continue
        arguments = [*node.args, *(one.value for one in node.keywords)]
        if name.startswith("boto3.") and name.endswith("client") and _names_bedrock(arguments):
            yield node, "client", "boto3 bedrock-runtime"
        elif clients.fullmatch(name) and not any(_is_safe(one, scope) for one in arguments):
            yield node, "client", name
        elif frameworks.fullmatch(name) and not any(_is_safe(one, scope) for one in arguments):
            yield node, "framework", name


def _names_bedrock(arguments: list[ast.expr]) -> bool:
    return any(isinstance(one, ast.Constant) and one.value in _BEDROCK for one in arguments)


def _urls(tree: ast.AST) -> Iterator[tuple[ast.expr, str, str]]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            for found in host_pattern().finditer(node.value):
                yield node, "url", found[0].lower()
        elif isinstance(node, ast.JoinedStr):
            # f"https://{name}.openai.azure.com": the host's beginning is not in the text
            text = "".join(str(one.value) if isinstance(one, ast.Constant) else "x" for one in node.values)
            parts = [str(one.value) for one in node.values if isinstance(one, ast.Constant)]
            for found in host_pattern().finditer(text):
                if not any(host_pattern().search(part) for part in parts):
                    yield node, "url", found[0].lower()


def _qualified(node: ast.expr, scope: _Scope) -> str | None:
    name = _dotted(node)
    if name is None:
        return None
    first, _, rest = name.partition(".")
    known = scope.names.get(first)
    if known is None:
        return None
    return f"{known}.{rest}" if rest else known


def _dotted(node: ast.AST) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
