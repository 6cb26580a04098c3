"""One noun, one thing: a class has its name alone, and a module its noun from the glossary.

The clients for threads and for asyncio are one interface, so their classes are twins.
"""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from tests.support.sources import ROOT, SOURCES, classes, modules

TWINS = ("stompy.sync.", "stompy.aio.")


@pytest.mark.parametrize("package", SOURCES)
def test_no_class_has_the_name_of_another(package: str) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for one in classes().values():
        if one.module.name.partition(".")[0] == package and not one.node.name.startswith("_"):
            places[one.node.name].add(one.module.name)
    shared = {name for name, where in places.items() if len(where) > 1 and not are_twins(where)}
    assert shared == set()


def are_twins(places: set[str]) -> bool:
    """Whether it is one class for threads and one for asyncio."""
    return len(places) == len(TWINS) and all(
        sum(place.startswith(twin) for place in places) == 1 for twin in TWINS
    )


GENERIC = {
    # Words of every program, not of this one.
    "app",
    "base",
    "build",
    "check",
    "cli",
    "cluster_checks",
    "cluster_config",
    "cluster_settings",
    "config",
    "config_changes",
    "config_checks",
    "config_errors",
    "config_section",
    "console",
    "errors",
    "headless",
    "help",
    "http_config",
    "inspect",
    "json_types",
    "limits_config",
    "options",
    "posix",
    "pytest_plugin",
    "quota_config",
    "routing_config",
    "run",
    "testing",
    "version",
    "web",
}


def plain(noun: str) -> str:
    """A noun without hyphens, blanks and plural."""
    word = re.sub(r"[^a-z0-9]", "", noun.lower())
    return re.sub(r"ie$", "y", word.removesuffix("s"))


def terms() -> dict[str, str]:
    """The terms of the glossary, by what is left of them."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.M | re.S)
    found = [line for block in blocks for line in block.splitlines() if line[:1].strip()]
    assert len(found) == len(set(found)), "a term stands twice"
    return {plain(term): term for term in found}


def stems() -> dict[str, str]:
    """What modules are named after, and one module of each name."""
    return {
        module.name.rpartition(".")[2]: module.path
        for module in modules().values()
        if not module.path.endswith(("__init__.py", "__main__.py"))
    }


def test_every_noun_is_in_the_glossary() -> None:
    known = terms()
    missing = {
        stem: path
        for stem, path in stems().items()
        if stem not in GENERIC and plain(stem) not in known
    }
    assert missing == {}


def test_every_generic_name_is_used() -> None:
    assert GENERIC - stems().keys() == set()
