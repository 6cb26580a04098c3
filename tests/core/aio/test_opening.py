"""What has not been opened says what to do, whatever is tried with it."""

from __future__ import annotations

import pytest

from stompy import aio


def use_an_attribute(opening) -> None:
    opening.get(timeout=1)


def enter(opening) -> None:
    with opening:
        pass


def iterate_asynchronously(opening) -> None:
    aiter(opening)


@pytest.mark.parametrize("misuse", [use_an_attribute, enter, iterate_asynchronously])
def test_what_is_not_open_says_what_to_write(misuse):
    opening = aio.connect("stomp://127.0.0.1:1")
    with pytest.raises((AttributeError, TypeError), match="write `await` or `async with` before"):
        misuse(opening)
    opening._coroutine.close()
