"""Rows in full."""

from stompy_monitor.screens import detail
from stompy_monitor.tables import details


def test_every_label_is_apart_from_its_value():
    labels = [label for told in details._FACTS.values() for label, _ in told]
    assert max(map(len, labels)) < detail._LABEL
