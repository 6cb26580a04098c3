"""The modules of the three packages as syntax trees, for the tests of the architecture."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = {
    "stompy": ROOT / "packages/stompy-core/src/stompy",
    "stompy_broker": ROOT / "packages/stompy-broker/src/stompy_broker",
    "stompy_monitor": ROOT / "packages/stompy-monitor/src/stompy_monitor",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True, eq=False)
class Module:
    """One module.

    Attributes:
        name: with its package, ``stompy.sync.client``.
        path: relative to the repository.
        imported: what each name at hand means, as a dotted name.
        classes: those at the top level.
    """

    name: str
    path: str
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)
    imported: dict[str, str] = field(repr=False)
    classes: dict[str, ast.ClassDef] = field(repr=False)

    def code_lines(self) -> int:
        """How many lines have code: no blank one, no comment, no docstring."""
        rows: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in _NO_CODE:
                rows.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and is_text(node):
                rows.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
        return len(rows)


def is_text(node: ast.Expr) -> bool:
    """Whether a statement is a docstring, be it one below an attribute."""
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def modules() -> dict[str, Module]:
    """Every module of the packages by its name."""
    found = {}
    for package, folder in SOURCES.items():
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = _read(name, file)
    assert len(found) > 150
    return found


def _read(name: str, file: Path) -> Module:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            for one in node.names:
                whole = one.name if one.asname else one.name.partition(".")[0]
                imported[one.asname or whole] = whole
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return Module(name, str(file.relative_to(ROOT)), text, tree, imported, classes)


def resolve(module: Module, expression: ast.expr) -> str:
    """The dotted name of what an expression names, as far down as it is ours."""
    if isinstance(expression, ast.Subscript):
        expression = expression.value
    name = ast.unparse(expression)
    first, dot, rest = name.partition(".")
    if first in module.classes:
        return f"{module.name}.{name}"
    return origin(module.imported.get(first, first) + dot + rest)


def origin(name: str) -> str:
    """Where a class that is imported under a name is defined."""
    owner, _, last = name.rpartition(".")
    there = modules().get(owner)
    if there is None or last in there.classes or last not in there.imported:
        return name
    return origin(there.imported[last])


@dataclass(frozen=True, eq=False)
class Class:
    """A class of ours at the top level of a module, and its bases by their dotted names."""

    module: Module
    node: ast.ClassDef
    bases: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.module.name}.{self.node.name}"

    def methods(self) -> Iterator[Function]:
        for node in self.node.body:
            if isinstance(node, Function):
                yield node


@cache
def classes() -> dict[str, Class]:
    """Every class of ours by its dotted name."""
    return {
        f"{module.name}.{node.name}": Class(
            module, node, tuple(resolve(module, base) for base in node.bases)
        )
        for module in modules().values()
        for node in module.classes.values()
    }


def ancestors(name: str) -> set[str]:
    """All bases of a class, as far as they are ours, and the first that is not."""
    one = classes().get(name)
    bases = set(one.bases) if one else set()
    return bases.union(*(ancestors(base) for base in bases))
