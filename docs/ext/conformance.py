"""The tests behind each rule and each promise, found in the tests themselves.

``{proofs} PART``
    The rules of one part of `docs/conformance.md`, F for example, and the tests of each. With
    ``promises`` the promises of `docs/wire.md` and their tests.

A test of the specification says its rule in the first words of its docstring, ``S10, 1.2
*UNSUBSCRIBE*: …``, and one of our own promises the numbers, ``14, 5: …``. A file that is all about
some promises says so in its own docstring, ``(promises 5 and 10)``.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"

_RULE_ROW = re.compile(r"^\| (?P<code>[A-Z]\d+) \| (?P<says>.+?) \| (?P<where>.+?) \| ", re.M)
_PROMISE = re.compile(r"^(\d+)\. \*\*", re.M)
_TITLE = re.compile(r"(?P<codes>[A-Z]\d+|\d+(?:, \d+)*)(?:, 1\.[012](?: \*[^*]+\*)?)?: \S")
_CITED = re.compile(r"\bpromises? ((?:\d+(?:, | and )?)+)")
_ABOUT = re.compile(r"\((promises? [\d, and]+)\)")


def rules() -> dict[str, str]:
    """The rules of the page by their codes, and where the specifications have each."""
    page = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    return {row["code"]: row["where"] for row in _RULE_ROW.finditer(page)}


def promises() -> list[int]:
    """The numbers of the promises, in the order of the page."""
    page = (ROOT / "docs" / "wire.md").read_text("utf-8")
    section = page.partition("## Promises\n")[2].partition("\n## ")[0]
    return [int(number) for number in _PROMISE.findall(section)]


def numbers(text: str) -> list[int]:
    """The promises that a text cites."""
    return [int(one) for cited in _CITED.findall(text) for one in re.findall(r"\d+", cited)]


@cache
def proofs() -> dict[str, list[tuple[str, str]]]:
    """Rules and numbers of promises, each with its tests: file and function, or only the file."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file in sorted(TESTS.rglob("test_*.py")):
        module = ast.parse(file.read_text("utf-8"))
        name = file.relative_to(TESTS).as_posix()
        for about in _ABOUT.findall(ast.get_docstring(module) or ""):
            for number in numbers(about):
                found[str(number)].append((name, ""))
        if file.parent.name == "conformance":
            for code, test in _proofs_in(module):
                found[code].append((name, test))
    return dict(found)


def _proofs_in(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            title = _TITLE.match(ast.get_docstring(node) or "")
            for code in title["codes"].split(", ") if title else ():
                yield code, node.name


def proofs_table(part: str) -> str:
    """The tests of one part's rules, or of the promises, as a Markdown table."""
    codes = map(str, promises()) if part == "promises" else (c for c in rules() if c[0] == part)
    first = "promise" if part == "promises" else "rule"
    lines = [f"| {first} | tests |", "|---|---|"]
    lines += [f"| {code} | {_listed(proofs().get(code, []))} |" for code in codes]
    return "\n".join(lines)


def _listed(tests: list[tuple[str, str]]) -> str:
    files: dict[str, list[str]] = defaultdict(list)
    for file, test in tests:
        files[file].append(test.removeprefix("test_").replace("_", " "))
    return "<br>".join(
        f"`{file}`" + (": " + "; ".join(titles) if (titles := list(filter(None, names))) else "")
        for file, names in files.items()
    )


class Proofs(SphinxDirective):
    """``{proofs} PART``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for file in TESTS.rglob("test_*.py"):
            self.env.note_dependency(str(file))
        return self.parse_text_to_nodes(proofs_table(self.arguments[0]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("proofs", Proofs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
