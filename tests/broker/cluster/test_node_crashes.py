"""Nodes in processes of their own are killed, stopped in their tracks, and told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.nats import PATIENCE, Trio

GROUPS = 16


class NodeProcess:
    """A node that can be killed.

    Attributes:
        told: what it has said: what, group, tenure, and when.
    """

    def __init__(self, trio: Trio, broker: str) -> None:
        self.told: list[tuple[str, int, int, float]] = []
        program = [sys.executable, "-m", "tests.support.serving"]
        self.process = subprocess.Popen(
            [*program, "crash", broker, str(GROUPS), "3", *trio.urls],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what, group, tenure, when = json.loads(line)
            self.told.append((what, group, tenure, when))

    @property
    def groups(self) -> set[int]:
        """The groups that it has now, as it says."""
        mine: set[int] = set()
        for what, group, _, _ in list(self.told):
            (mine.add if what == "owned" else mine.discard)(group)
        mine.discard(-1)
        return mine

    def end(self) -> None:
        """See that it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self._listening.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def nodes(trio: Trio) -> Iterator[list[NodeProcess]]:
    """The first one has all groups; the others wait."""
    started = [NodeProcess(trio, "ann")]
    try:
        until(lambda: len(started[0].groups) == GROUPS)
        started += [NodeProcess(trio, broker) for broker in ("bob", "cid")]
        yield started
    finally:
        for node in started:
            node.end()


def have_all(some: list[NodeProcess]) -> bool:
    return set().union(*(node.groups for node in some)) == set(range(GROUPS))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_the_groups_of_one_that_ends_are_taken_over(tmp_path: Path, how: signal.Signals):
    with Trio(tmp_path) as trio, nodes(trio) as (ann, *others):
        until(lambda: all("joined" in [what for what, *_ in node.told] for node in others))
        ann.process.send_signal(how)
        until(lambda: have_all(others))
        assert all(node.groups for node in others)
        if how is signal.SIGSTOP:
            os.kill(ann.process.pid, signal.SIGCONT)
            until(lambda: not ann.groups)
            assert all(what != "left" for what, *_ in ann.told)
        if how is signal.SIGTERM:
            assert ann.process.wait(PATIENCE) == 0
            assert sum(what == "left" for what, *_ in ann.told) == GROUPS
        assert have_all(others)
