"""One noun, one thing: within a package no two classes have the same name.

The clients for threads and for asyncio are one interface, so their classes are twins.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from tests.support.sources import SOURCES, classes

TWINS = ("stompy.sync.", "stompy.aio.")

SHARED = {
    # Two things of one name still; each goes with the work on it.
    "stompy": {"Confirmation", "Trace"},
    "stompy_broker": {"Marks"},
    "stompy_monitor": set[str](),
}


@pytest.mark.parametrize("package", SOURCES)
def test_no_class_has_the_name_of_another(package: str) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for one in classes().values():
        if one.module.name.partition(".")[0] == package and not one.node.name.startswith("_"):
            places[one.node.name].add(one.module.name)
    shared = {name for name, where in places.items() if len(where) > 1 and not are_twins(where)}
    assert shared - SHARED[package] == set()


def are_twins(places: set[str]) -> bool:
    """Whether it is one class for threads and one for asyncio."""
    return len(places) == len(TWINS) and all(
        sum(place.startswith(twin) for place in places) == 1 for twin in TWINS
    )
