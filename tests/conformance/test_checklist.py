"""Every rule and every promise has a test, and says so in the first words of its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.conformance.test_bad_input import CASES
from tests.support.contracts import conformance
from tests.support.specification import cited, strangers

HERE = Path(__file__).parent
RULES = conformance.rules()

TITLE = re.compile(r"(?P<rule>[A-Z]\d+)(?P<where>, 1\.[012](?: \*[^*]+\*)?)?: \S")


def titles(file: Path) -> dict[str, str]:
    """The docstring of each test in a file."""
    module = ast.parse(file.read_text("utf-8"))
    return {
        f"{file.name}::{node.name}": ast.get_docstring(node) or ""
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def is_about_rules(file: Path) -> bool:
    """Whether a file opens with a part of the page; others are about what we promise beyond it."""
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").startswith(PAGE)


PAGE = ("`docs/conformance.md`", "Each rule of `docs/conformance.md`")
BY_RULE = [file for file in sorted(HERE.glob("test_*.py")) if is_about_rules(file)]


def test_the_page_counts_its_rules_without_a_gap():
    parts: dict[str, list[int]] = {}
    for code in RULES:
        parts.setdefault(code[0], []).append(int(code[1:]))
    assert len(parts) == 9
    for part, numbers in parts.items():
        assert numbers == list(range(1, len(numbers) + 1)), part


@pytest.mark.parametrize("code", RULES)
def test_the_page_names_sections_that_there_are(code: str):
    where = RULES[code]
    assert where == "silent" or cited(where), code
    assert strangers(where) == [], code


@pytest.mark.parametrize("file", BY_RULE, ids=lambda file: file.name)
def test_titles_name_rule_and_section(file: Path):
    for name, title in titles(file).items():
        found = TITLE.match(title)
        assert found, f"{name}: {title!r}"
        assert found["rule"] in RULES, name
        assert strangers(title) == [], name


def test_the_files_about_rules_are_found():
    assert len(BY_RULE) == 10


def test_every_rule_has_a_test():
    tested = {
        found["rule"]
        for file in BY_RULE
        for title in titles(file).values()
        if (found := TITLE.match(title))
    }
    assert sorted(RULES.keys() - tested) == []


def test_promises_are_numbered_without_a_gap():
    numbers = conformance.promises()
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("number", conformance.promises())
def test_every_promise_has_a_test(number: int):
    assert conformance.proofs().get(str(number)), f"no test says that it proves promise {number}"


def test_tests_of_promises_name_them():
    known = set(conformance.promises())
    for name, title in titles(HERE / "test_promises.py").items():
        number = re.match(r"(\d+): \S", title)
        assert number, name
        assert int(number[1]) in known, name


def test_the_manual_lists_what_proves_a_rule():
    table = conformance.proofs_table("S")
    assert "| S10 | `conformance/test_send_subscribe.py`: an id may be used again; " in table
    assert "store/test_crash.py" in conformance.proofs_table("promises")


def test_cases_of_bad_input_name_rules():
    assert {case.rule for case in CASES} <= RULES.keys()
    assert {case.rule[0] for case in CASES} == {code[0] for code in RULES} - {"X"}
