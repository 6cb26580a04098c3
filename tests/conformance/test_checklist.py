"""Every rule of the checklist has a test, and says so in the first words of its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.conformance.test_bad_input import CASES

HERE = Path(__file__).parent

# How many rules each part of the checklist has. Nearly all concern a broker; N2, N3, R1, R7, R8
# and R13 concern clients, and are tested from the other end or on `stompy.protocol`.
PARTS = {"F": 14, "E": 8, "N": 12, "H": 6, "S": 10, "M": 12, "T": 6, "R": 13}
RULES = {f"{part}{number}" for part, count in PARTS.items() for number in range(1, count + 1)}

SECTIONS = {
    "STOMP Frames", "Value Encoding", "Body", "Header content-length", "Header content-type",
    "Header receipt", "Repeated Header Entries", "Size Limits", "Connection Lingering",
    "Connecting", "CONNECT or STOMP Frame", "CONNECTED Frame", "Protocol Negotiation",
    "Heart-beating", "Client Frames", "SEND", "SUBSCRIBE", "SUBSCRIBE id Header",
    "SUBSCRIBE ack Header", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT",
    "Server Frames", "MESSAGE", "RECEIPT", "ERROR", "Augmented BNF",
}  # fmt: skip

TITLE = re.compile(r"(?P<rule>[A-Z]\d+|8\.3)(?:, 1\.[012](?: \*(?P<section>[^*]+)\*)?)?: \S")


def titles(file: Path) -> dict[str, str]:
    """The docstring of each test in a file."""
    module = ast.parse(file.read_text("utf-8"))
    return {
        f"{file.name}::{node.name}": ast.get_docstring(node) or ""
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


FILES = sorted(set(HERE.glob("test_*.py")) - {HERE / "test_checklist.py"})
# These are about the broker's own promises, on which the specification is silent.
OWN_PROMISES = {
    "test_any_frame.py",
    "test_failed_deliveries.py",
    "test_late_ack.py",
    "test_promises.py",
    "test_durable.py",
    "test_endings.py",
    "test_expiry_priority.py",
    "test_lengths.py",
    "test_measured.py",
}
BY_RULE = [file for file in FILES if file.name not in OWN_PROMISES]


@pytest.mark.parametrize("file", BY_RULE, ids=lambda file: file.name)
def test_titles_name_rule_and_section(file: Path):
    for name, title in titles(file).items():
        found = TITLE.match(title)
        assert found, f"{name}: {title!r}"
        assert found["rule"] in RULES | {"8.3"}, name
        section = found["section"]
        assert section is None or section in SECTIONS or ", 1.0 " in title, name


def test_every_rule_has_a_test():
    tested = set()
    for file in BY_RULE:
        tested |= {
            found["rule"] for title in titles(file).values() if (found := TITLE.match(title))
        }
    assert RULES | {"8.3"} <= tested, sorted(RULES - tested)


def test_every_promise_about_the_wire_has_a_test():
    found = set()
    for name, title in titles(HERE / "test_promises.py").items():
        number = re.match(r"(\d+): \S", title)
        assert number, name
        found.add(int(number[1]))
    assert found == {1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 19}


def test_cases_of_bad_input_name_rules():
    assert {case.rule for case in CASES} <= RULES
    assert {case.rule[0] for case in CASES} == set(PARTS)
