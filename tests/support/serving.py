"""Serves groups of a cluster as a broker does, as far as their logs can tell.

As a program it is a node in a process of its own, that can be killed: it says on its output what
becomes of its groups, and leaves in good order when it is asked to end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.support.nats import settings_for

from stompy_broker.cluster.log.changes import Changes, write_changes
from stompy_broker.cluster.log.log import Fenced, Stored
from stompy_broker.cluster.log.log_record import RecordHead, RecordKind, write_record
from stompy_broker.cluster.log.takeover import Tenure, append_until_told
from stompy_broker.cluster.membership.groups import GroupMap
from stompy_broker.cluster.membership.members import Member
from stompy_broker.cluster.node import ClusterNode, NodeSettings


@dataclass
class Serving:
    """Serves groups as a broker does, as far as their logs tell."""

    node: ClusterNode = field(init=False)
    tenures: dict[int, Tenure] = field(default_factory=dict)
    deposed_of: list[int] = field(default_factory=list)
    owners: dict[int, str] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    broken: bool = False
    written: dict[int, tuple[int, int]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def owned(self, group: int, tenure: Tenure) -> None:
        if self.broken:
            raise ValueError("no room")
        assert group not in self.tenures
        self.tenures[group] = tenure

    def deposed(self, group: int, reason: str) -> None:
        self.deposed_of.append(group)
        self.tenures.pop(group, None)
        self.written.pop(group, None)

    def owner_changed(self, group: int, owner: str) -> None:
        self.owners[group] = owner

    def leave(self, group: int, done: Callable[[], None]) -> None:
        task = asyncio.create_task(self._leave(group, done))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _leave(self, group: int, done: Callable[[], None]) -> None:
        assert await self.write(group, RecordKind.LEAVE)
        del self.tenures[group]
        self.written.pop(group, None)
        done()

    async def write(self, group: int, kind: RecordKind, skipped: int = 0) -> bool:
        """Write the next record of a group, and tell the node if it is fenced."""
        tenure = self.tenures[group]
        number, place = self.written.get(group, (tenure.replay.number, tenure.place))
        number += 1 + skipped
        head = RecordHead(kind, tenure.number, number, 1, 0)
        payload = write_changes(Changes()).payload if kind is RecordKind.CHANGES else b""
        parts = write_record(head, payload, tenure.log.part_bytes)
        answer = await append_until_told(tenure.log, parts, place)
        if isinstance(answer, Fenced):
            self.node.fenced(group, tenure.number, answer.reason)
        elif isinstance(answer, Stored):
            self.written[group] = (number, answer.last)
        return isinstance(answer, Stored)

    def members_changed(self, members: Mapping[str, Member]) -> None:
        self.members = members


_OTHERS = 2
"""So many other nodes there are when all have joined."""


class Talking(Serving):
    """Says what becomes of its groups, a line each: what, group, tenure, and when."""

    def owned(self, group: int, tenure: Tenure) -> None:
        super().owned(group, tenure)
        self._say("owned", group, tenure.number)

    def deposed(self, group: int, reason: str) -> None:
        super().deposed(group, reason)
        self._say("deposed", group, 0)

    async def _leave(self, group: int, done: Callable[[], None]) -> None:
        await super()._leave(group, done)
        self._say("left", group, 0)

    def members_changed(self, members: Mapping[str, Member]) -> None:
        super().members_changed(members)
        if len(members) == _OTHERS:
            self._say("joined", -1, 0)

    def _say(self, what: str, group: int, tenure: int) -> None:
        sys.stdout.write(json.dumps([what, group, tenure, time.monotonic()]) + "\n")
        sys.stdout.flush()


async def main(cluster: str, broker: str, groups: int, replicas: int, urls: list[str]) -> None:
    """Be a node until SIGTERM comes."""
    serving = Talking()
    settings = NodeSettings(cluster, broker, settings_for(*urls), replicas, groups=GroupMap(groups))
    serving.node = node = ClusterNode(settings, serving)
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await node.start()
    await asked.wait()
    await node.leave()
    await node.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
