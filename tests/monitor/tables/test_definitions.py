"""The tables and their pages in the manual: each column stands in the one of its table."""

from __future__ import annotations

import re

import pytest
from tests.docs.blocks import DOCS

from stompy.admin import AGES, ROWS, Kind
from stompy_monitor.model.row_set import LEVELS, RATES
from stompy_monitor.tables.definitions import MESSAGES, TABLES, View
from stompy_monitor.tables.short_tables import PARTS

PAGES = {"dead": "dead-letters"}
"""Where a page has another name than its view."""

WORDS = re.compile(r"^\| ([A-Z#][A-Z/s#, -]*) \|", re.MULTILINE)
"""The first cell of a line of a table of columns: titles, with commas between."""


@pytest.mark.parametrize("view", [*TABLES, MESSAGES], ids=lambda view: view.name)
def test_the_page_of_a_table_names_its_columns_and_no_other(view: View) -> None:
    page = (DOCS / "monitor" / f"{PAGES.get(view.name, view.name)}.md").read_text("utf-8")
    named = [title for cell in WORDS.findall(page) for title in cell.split(", ")]
    assert sorted(named) == sorted(column.title for column in view.columns if column.title)


@pytest.mark.parametrize("view", [view for view in TABLES if view.kind in list(Kind)])
def test_a_column_of_the_broker_is_a_field_of_its_rows(view: View) -> None:
    fields = set(ROWS[Kind(view.kind)].__dataclass_fields__)
    own = {"alarm", "reason", "trend", "client", "groups", *RATES.get(view.kind, ())}
    own |= {"next_in_ms", "how"}
    assert own | fields >= {column.name.partition(".")[0] for column in view.columns}
    assert set(LEVELS.get(view.kind, ())) <= fields


@pytest.mark.parametrize("view", PARTS, ids=lambda view: view.name)
def test_the_page_of_the_cluster_names_the_columns_of_its_lists(view: View) -> None:
    page = (DOCS / "monitor" / "cluster.md").read_text("utf-8")
    named = {title for cell in WORDS.findall(page) for title in cell.split(", ")}
    own = {"BROKER", "OWNS GROUPS", "CPU %", "MEMORY", "ALARM", "GROUP", "SERVER"}
    assert {column.title for column in view.columns if column.title} <= named | own


def test_an_age_ticks() -> None:
    columns = [column for view in TABLES for column in view.columns if column.name in AGES]
    assert [column.name for column in columns if not column.ticks] == []
