"""What one queue hands out to whom, under thousands of random schedules: see `turns_model`."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from tests.support.storage import short_wal
from tests.support.turns_model import Shape, Step, run, schedule_of, shape_of, smallest

SCHEDULES = int(os.environ.get("STOMPY_SCHEDULES", "150"))
"""How many are tried."""

FIRST = int(os.environ.get("STOMPY_SEED", "0"))
"""Of which random numbers the first one is made."""

LONGEST = 60
"""Steps."""


@contextmanager
def told(seed: int) -> Iterator[None]:
    """Say which schedule it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


class Trial:
    """One schedule, and directories for as often as it is tried."""

    def __init__(self, seed: int, directory: Path) -> None:
        random = Random(seed)
        self.shape: Shape = shape_of(random)
        self.steps: list[Step] = schedule_of(random, random.randrange(5, LONGEST))
        self.directory = directory
        self.tries = 0

    def error(self, steps: list[Step]) -> Exception | None:
        """What goes wrong with these steps."""
        self.tries += 1
        try:
            run(self.shape, steps, self.directory / str(self.tries))
        except Exception as error:
            return error
        return None

    def check(self) -> None:
        """Try it; should it fail, find the few steps that it takes."""
        first = self.error(self.steps)
        if first is None:
            return
        kind = type(first)
        few = smallest(lambda steps: type(self.error(steps)) is kind, self.steps)
        error = self.error(few) or first
        lines = "".join(traceback.format_exception(error)[-4:])
        pytest.fail(f"{error}\n{self.shape}\nSTEPS = {few}\n{lines}", pytrace=False)


@pytest.mark.timeout(60 + SCHEDULES // 2)
def test_whatever_happens(tmp_path: Path) -> None:
    with short_wal():
        for seed in range(FIRST, FIRST + SCHEDULES):
            with told(seed):
                Trial(seed, tmp_path / str(seed)).check()
