"""Commands about the cluster that the broker belongs to."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from stompy.admin.rows import Role
from stompy_broker.admin.asking import ask
from stompy_broker.admin.cluster_control import ClusterControl
from stompy_broker.admin.cluster_status import ClusterStatus, GroupFacts
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    conflict,
    not_found,
)
from stompy_broker.admin.tasks import Steps

_NO_GROUP = -1

_ALONE = "this broker is alone: there is no [cluster] in its configuration"


class ClusterCommands:
    """Commands about the cluster that the broker belongs to.

    Args:
        context: the broker.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "cluster.status",
                Role.MONITOR,
                "The brokers of the cluster, who owns which group of queues, and the NATS servers, "
                "as far as this broker knows.",
                self._status,
            ),
            Command(
                "cluster.move",
                Role.ADMIN,
                "Have another broker own a group of queues; answers when it does. Its clients see "
                "a pause.",
                self._move,
                (
                    Argument("broker", "text", "id of the one that is to own it", required=True),
                    Argument("group", "number", "of the group, or else:", default=_NO_GROUP),
                    Argument("queue", "text", "a queue in it", names="queue"),
                ),
                changes=True,
            ),
            Command(
                "cluster.drain",
                Role.ADMIN,
                "Have this broker give all its groups away, as before maintenance; answers when it "
                "has none.",
                self._drain,
                (Argument("enable", "true or false", "false = take groups again", default=True),),
                changes=True,
            ),
            Command(
                "cluster.accept",
                Role.ADMIN,
                "Have this broker go on with a group although something is missing in its log; "
                "what was there is lost for good.",
                self._accept,
                (Argument("group", "number", "of the group", required=True),),
                changes=True,
            ),
        ]

    def _status(self, call: Call) -> Result:
        cluster = self._cluster
        return {
            "cluster": cluster.name,
            "broker": cluster.broker,
            "members": [asdict(member) for member in cluster.members()],
            "groups": [asdict(group) for group in cluster.groups()],
            "servers": [asdict(server) for server in cluster.servers()],
        }

    def _move(self, call: Call) -> Steps[Result]:
        cluster, broker = self._cluster, call.args["broker"]
        number, queue = call.args["group"], call.args["queue"]
        if (number != _NO_GROUP) == bool(queue):
            raise bad("cluster.move needs 'group', a number, or 'queue', one that is in it")
        if queue:
            number = self._context.router.groups.of(queue.removeprefix("/queue/")).number
        group = self._group(number)
        standing = {member.id: member.state for member in cluster.members()}
        if broker not in standing:
            known = ", ".join(sorted(standing))
            raise not_found(f"there is no broker {broker[:64]!r}; there are {known}")
        if standing[broker] != "alive":
            raise conflict(f"{broker} is {standing[broker]}, and takes no groups")
        result: Result = {"group": group.number, "from": group.owner, "to": broker}
        call.expect(int(group.owner != broker))
        if group.owner == broker or call.dry_run:
            return {**result, "moved": False}
        hindrance = yield from ask(partial(self._control.move, group.number, broker))
        if hindrance:
            raise conflict(hindrance)
        return {**result, "moved": True}

    def _group(self, number: int) -> GroupFacts:
        groups = {group.number: group for group in self._cluster.groups()}
        if number not in groups:
            raise not_found(f"there is no group {number}; there are {len(groups)} from 0 on")
        return groups[number]

    def _accept(self, call: Call) -> Result:
        control, group = self._control, self._group(call.args["group"])
        if group.owner:
            raise conflict(f"group {group.number} has an owner, {group.owner}: nothing is missing")
        if not call.dry_run:
            control.accept(group.number)
        return {"group": group.number}

    def _drain(self, call: Call) -> Steps[Result]:
        cluster, control, enable = self._cluster, self._control, call.args["enable"]
        own = [group.number for group in cluster.groups() if group.owner == cluster.broker]
        call.expect(len(own) if enable else 0)
        if not call.dry_run:
            if not enable:
                control.undrain()
            elif hindrance := (yield from ask(control.drain)):
                raise conflict(hindrance)
        return {"broker": cluster.broker, "draining": enable, "groups": own if enable else []}

    @property
    def _cluster(self) -> ClusterStatus:
        cluster = self._context.cluster
        if cluster is None:
            raise conflict(_ALONE)
        return cluster

    @property
    def _control(self) -> ClusterControl:
        control = self._context.control()
        if control is None:
            raise conflict(_ALONE)
        return control
