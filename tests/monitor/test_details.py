"""Rows in full."""

from stompy_monitor import details
from stompy_monitor.screens import detail


def test_every_label_is_apart_from_its_value():
    labels = [label for told in details._FACTS.values() for label, _ in told]
    assert max(map(len, labels)) < detail._LABEL
