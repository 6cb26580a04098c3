"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from stompy_monitor.model import formats


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (999, "999"), (9_300, "9.3k"), (48_210, "48.2k"), (999_600, "1M")],
)
def test_counts(value, shown):
    assert formats.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (0.01, "0.1"), (2.5, "2.5"), (9.96, "10"), (12_400.7, "12.4k")],
)
def test_rates(value, shown):
    assert formats.rate(value) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (8, "8 ms"),
        (48_000, "48s"),
        (724_000, "12m 04s"),
        (7_500_000, "2h 05m"),
        (273_600_000, "3d 04h"),
    ],
)
def test_durations(ms, shown):
    assert formats.duration(ms) == shown


def test_sizes_drains_and_shares():
    assert [formats.size(n) for n in (0, 512, 1_300, 2**30)] == ["0", "512 B", "1.3 KiB", "1 GiB"]
    assert [formats.drain(*a) for a in ((None, 0), (None, 3), (6_000, 3))] == ["–", "∞", "6s"]
    assert formats.share(0.953) == "95 %"
    assert formats.clock(0, local=False) == "00:00:00"


@given(st.floats(0, 1e15) | st.integers(0, 10**15))
def test_columns_never_jump(value):
    assert len(formats.number(value)) <= 5
    assert len(formats.rate(float(value))) <= 5


@given(st.text("ab注é", max_size=30), st.integers(1, 20))
def test_the_middle_goes(text, cells):
    shown = formats.middle_cut(text, cells)
    assert cell_len(shown) <= cells
    assert shown == text or "…" in shown
