import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

# A test that is slow because the machine is busy has not failed; pytest's own time limit holds.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def pytest_configure() -> None:
    """Refuse to test modules that were compiled before their source changed."""
    for compiled in Path(__file__).parents[1].glob("packages/*/src/*/**/*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
            raise pytest.UsageError(
                f"{source.name} has changed since it was compiled: `make compile`, or `make pure`"
            )


def pytest_sessionfinish() -> None:
    """End the NATS server that tests of this process have started, and save what was covered."""
    support = sys.modules.get("tests.support.nats")
    if support is not None:
        support.end_house_server()
    # A worker that takes longer than 10 s to end is killed, and on a busy machine that is too
    # soon for what it would save then: half of the lines would count as never reached.
    coverage = sys.modules.get("coverage")
    counting = None if coverage is None else coverage.Coverage.current()
    if counting is not None:
        with warnings.catch_warnings():
            # It warns of packages that a process has not used, as the one that leads the others.
            warnings.simplefilter("ignore")
            counting.save()
