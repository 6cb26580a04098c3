"""What comments, docstrings and tests cite is there: promises, rules, sections, pages.

A citation is written as one of these:

- ``promise 5``, ``promises 5 and 10``: the list in `docs/wire.md`, *Promises*;
- ``rule S10``, ``rules S9 and S10``: `docs/conformance.md`;
- ``1.2 *UNSUBSCRIBE*``, ``STOMP 1.1 and 1.2, *Value Encoding*``: a section of a specification;
- a page of the manual by its path, with a heading behind it in asterisks; or ``the manual,`` and a
  heading of whatever page;
- ``CONTRIBUTING,`` and a heading, or the first words of a rule.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from tests.support.contracts import ROOT, conformance
from tests.support.specification import strangers

FOLDERS = ("packages", "tests", "benchmarks", "examples", "docs/ext", ".ci")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__) and not {"node_modules", "build"} & set(path.parts)
)
TEXTS = (ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

RULES = re.compile(r"\brules? ((?:[A-Z]\d+(?:, | and | to )?)+)")
PAGE = re.compile(r"`docs/(?P<page>[\w/-]+\.md)`(?:, (?P<headings>\*[^*]+\*(?: and \*[^*]+\*)*))?")
MANUAL = re.compile(r"\bthe manual, (?P<headings>\*[^*]+\*(?: and \*[^*]+\*)*)")
CONTRIBUTING = re.compile(r"\bCONTRIBUTING(?:\.md)?`?, (?P<headings>\*[^*]+\*)")


def plain(path: Path) -> str:
    """A file as one line, without the signs that begin the lines of a comment."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        text = re.sub(r"^\s*#:? ?", " ", text, flags=re.M)
    return " ".join(text.split())


@cache
def headings(page: Path) -> frozenset[str]:
    """The headings of a page, as they read; of the contributors' page the rules as well."""
    text = page.read_text("utf-8")
    found = re.findall(r"^#+ (.+)$", text, re.M)
    if page.name == "CONTRIBUTING.md":
        found += re.findall(r"^- \*\*([^*]+?)[.:]?\*\*", text, re.M)
    return frozenset(found)


@cache
def all_headings() -> frozenset[str]:
    return frozenset().union(*(headings(page) for page in (ROOT / "docs").rglob("*.md")))


def leads_nowhere(text: str) -> list[str]:
    """The citations of a text that find nothing."""
    known, codes = set(conformance.promises()), conformance.rules()
    lost = [f"promise {one}" for one in conformance.numbers(text) if one not in known]
    for cited in RULES.findall(text):
        lost += [f"rule {one}" for one in re.findall(r"[A-Z]\d+", cited) if one not in codes]
    lost += [f"{version} *{section}*" for version, section in strangers(text)]
    for found in PAGE.finditer(text):
        page = ROOT / "docs" / found["page"]
        if not page.exists():
            lost.append(found["page"])
        else:
            lost += missing(found["headings"], headings(page))
    for found in MANUAL.finditer(text):
        lost += missing(found["headings"], all_headings())
    for found in CONTRIBUTING.finditer(text):
        lost += missing(found["headings"], headings(ROOT / "CONTRIBUTING.md"))
    return lost


def missing(cited: str | None, known: frozenset[str]) -> list[str]:
    names = [name.strip("*") for name in re.findall(r"\*[^*]+\*", cited or "")]
    return [f"*{name}*" for name in names if name not in known]


def test_citations_lead_somewhere() -> None:
    texts = (*FILES, *TEXTS)
    assert len(texts) > 400
    lost = {str(path.relative_to(ROOT)): leads_nowhere(plain(path)) for path in texts}
    assert {path: found for path, found in lost.items() if found} == {}


def test_nothing_is_cited_that_is_not_in_the_repository() -> None:
    papers = re.compile(r"\(design\b|\bchecklist 8|\bdesign\.md\b", re.I)
    assert [str(path.relative_to(ROOT)) for path in FILES if papers.search(plain(path))] == []


@pytest.mark.parametrize(
    "text",
    [
        "It holds (promise 99).",
        "It holds (promises 1, 5 and 99).",
        "So says rule S11.",
        "1.0 *Heart-beating*: there is none.",
        "STOMP 1.2, *Trailing*: as it is.",
        "See `docs/nowhere.md`.",
        "See `docs/wire.md`, *Nothing*.",
        "See the manual, *Promises* and *Nothing*.",
        "See CONTRIBUTING, *Nothing*.",
    ],
)
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    assert len(leads_nowhere(text)) == 1


def test_a_citation_that_is_right_passes() -> None:
    good = (
        "(promises 5 and 10), rule S10, 1.1 and 1.2, *Value Encoding*, `docs/wire.md`, *Promises*"
    )
    assert leads_nowhere(f"{good}, CONTRIBUTING, *Size*") == []
