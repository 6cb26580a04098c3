"""Commands about the broker itself and its snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from stompy.admin.rows import Kind, Role
from stompy.admin.snapshot import (
    TOPIC_PREFIX,
    VERSION,
    Format,
    Mode,
    aged,
    field_names,
    row_to_json,
)
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    conflict,
)
from stompy_broker.admin.streams import Stream
from stompy_broker.admin.tasks import Steps
from stompy_broker.config import ConfigError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.session.sys_subscription import (
    LEAST_INTERVAL,
    MOST_INTERVAL,
    read_streams,
    remarks,
)
from stompy_broker.version import __version__

_NAMED = (Kind.QUEUE, Kind.EVENT)
"""Kinds whose topics have a name of their own."""


class BrokerCommands:
    """Commands about the broker itself and its snapshots.

    Args:
        context: the broker.
        table: all commands there are, for who asks for help.
    """

    def __init__(self, context: CommandContext, table: Sequence[Command]) -> None:
        self._context = context
        self._table = table

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        monitor = Role.MONITOR
        return [
            Command("ping", monitor, "Whether the broker answers.", self._ping),
            Command("broker.info", monitor, "Who the broker is, and who you are.", self._info),
            Command("broker.stats", monitor, "As on $SYS.broker.", self._stats),
            Command("broker.help", monitor, "What commands there are.", self._help),
            Command(
                "broker.drain",
                Role.ADMIN,
                "Let in operators only; who is there may stay.",
                self._drain,
                (Argument("enable", "true or false", "false = let all in again", default=True),),
                changes=True,
            ),
            Command(
                "config.reload",
                Role.ADMIN,
                "Read the configuration again, with users and certificates, and go by it.",
                self._reload,
                changes=True,
            ),
            Command(
                "snapshot.get",
                monitor,
                "What the last snapshot of a stream said, in full, a page an answer.",
                self._snapshot,
                (
                    Argument("kind", "text", "queues, connections, ...", required=True),
                    Argument("name", "text", "of the queue, for the kind queue", default=""),
                    Argument("format", "text", "", words=tuple(Format), default="objects"),
                    Argument("mode", "text", "", words=tuple(Mode), default="full"),
                    Argument(
                        "interval",
                        "number",
                        "of that stream",
                        default=1000,
                        least=LEAST_INTERVAL,
                        most=MOST_INTERVAL,
                    ),
                    Argument("fields", "list", "of that stream"),
                ),
            ),
        ]

    def _ping(self, call: Call) -> Result:
        return {"at": self._context.router.wall(), "up_ms": self._context.snapshots.up_ms}

    def _info(self, call: Call) -> Result:
        identity, router = self._context.identity, self._context.router
        return {
            "name": identity.name,
            **self._cluster(),
            "boot": identity.boot,
            "version": __version__,
            "admin_version": VERSION,
            "up_ms": self._context.snapshots.up_ms,
            "role": call.role,
            "user": call.user,
            "connection": call.client.key if call.client is not None else "",
            "draining": self._context.logins.draining,
            "alarms": list(router.alarms),
        }

    def _cluster(self) -> Result:
        cluster = self._context.cluster
        return {} if cluster is None else {"cluster": cluster.name, "broker": cluster.broker}

    def _stats(self, call: Call) -> Steps[Result]:
        moment = self._context.snapshots.moment()
        row = yield from self._context.snapshots.broker.row(moment)
        return row_to_json(aged(row, moment.at))

    def _help(self, call: Call) -> Result:
        commands = sorted(self._table, key=lambda command: command.name)
        return {
            "role": call.role,
            "topics": [f"{TOPIC_PREFIX}{kind}" for kind in self._kinds()]
            + [f"{TOPIC_PREFIX}queue.<name>", f"{TOPIC_PREFIX}event.<object>.<action>"],
            "commands": [command.describe(call.role) for command in commands],
        }

    def _kinds(self) -> Iterator[Kind]:
        for kind in Kind:
            if kind not in _NAMED and (kind is not Kind.CLUSTER or self._context.cluster):
                yield kind

    def _drain(self, call: Call) -> Result:
        enable = call.args["enable"]
        if not call.dry_run:
            self._context.logins.draining = enable
        return {"draining": enable, "connections": len(self._context.sessions)}

    def _reload(self, call: Call) -> Steps[Result]:
        reload = self._context.reload()
        if reload is None:
            raise conflict("the broker is starting")
        try:
            if call.request.expect is not None:
                found = yield from reload(True)
                applied = found["applied"]
                call.expect(len(applied) if isinstance(applied, list) else 0)
            return (yield from reload(call.dry_run))
        except ConfigError as error:
            raise bad(f"nothing is changed: {error}") from None

    def _snapshot(self, call: Call) -> Steps[Result]:
        args = call.args
        name = f".{args['name']}" if args["name"] else ""
        headers = {
            "format": args["format"],
            "mode": args["mode"],
            "interval": str(args["interval"]),
            "fields": ",".join(map(str, args["fields"] or ())),
        }
        clustered = self._context.cluster is not None
        topic = parse_destination(f"{TOPIC_PREFIX}{args['kind']}{name}")
        streams, _ = read_streams(topic, headers, clustered=clustered)
        if len(streams) != 1:
            raise bad(f"{args['kind'][:60]!r} is not one kind of snapshot")
        note = remarks(streams, headers, clustered=clustered)
        if note:
            names = field_names(streams[0].kind, clustered=clustered)
            raise bad(f"{note}; there are {', '.join(names)}")
        wanted = replace(streams[0], own=clustered and call.relayed)
        stream = self._context.publisher.find(wanted)
        if stream is None:
            # Nobody observes it, so it is made for this one.
            stream = Stream(wanted, self._context.writer)
            found, _ = yield from self._context.look(wanted.kind, call, wanted.name)
            merged = found if found.brokers else None
            yield from stream.publish(found.rows, self._context.snapshots.moment(), merged)
            self._context.publisher.forget_unwatched()
        *pages, last = yield from stream.everything()
        for page in pages:
            call.part(json.loads(page.body or b""))
            yield None
        result: Result = json.loads(last.body or b"")
        return result
