"""Commands that look at the messages of a queue, which changes nothing, and one that sends some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from stompy.admin.command import Request
from stompy.admin.rows import Role
from stompy_broker.admin.asking import agreed, ask
from stompy_broker.admin.commands.base import (
    Addressee,
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
    name_in,
    not_found,
)
from stompy_broker.admin.commands.content import ENCODING, read_body, read_headers, read_place
from stompy_broker.admin.commands.groups import MOST_GROUPS, Count, Group, Groups, Values, counted
from stompy_broker.admin.commands.selection import (
    HEADERS,
    IDS,
    QUEUE,
    SELECTOR,
    as_json,
    read_header,
    select,
    selected,
    with_states,
)
from stompy_broker.admin.commands.streams import start_in
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.interface import (
    Browse,
    Queue,
)
from stompy_broker.routing.joined_queues import by_queue, queues_of
from stompy_broker.routing.selection import first_bytes
from stompy_broker.security.access import Action
from stompy_broker.session.spread_send import SpreadSend, publish_spread
from stompy_broker.session.subscription import AckSubscription

MOST_SHOWN = 1000
MOST_SENT = 1000
SHOWN_BYTES = 16 * 1024 * 1024
"""An answer with messages is not larger than about this."""

_MOST_BYTES = Argument("max_bytes", "number", "of a body", default=4096, most=SHOWN_BYTES)

_BROWSE = (Action.BROWSE,)


def _of_peek(args: Mapping[str, Any]) -> Addressee:
    """Say where messages are looked at; those with consumers are wherever these are connected."""
    return Addressee.HERE if args["state"] == "unacked" else Addressee.OWNER


class MessageCommands:
    """Commands about the messages that wait in a queue.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._groups = Groups()

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [*self._that_look(), *self._that_send()]

    def _that_look(self) -> list[Command]:
        operator = Role.OPERATOR
        peeking = (
            QUEUE,
            IDS,
            HEADERS,
            SELECTOR,
            Argument("offset", "number", "messages to leave out", default=0),
            Argument("limit", "number", "messages at most", default=20, most=MOST_SHOWN),
            Argument("start", "text", "of a stream, where to begin: offset=7, last=10, age=1h"),
            Argument("state", "text", "", words=("waiting", "unacked"), default="waiting"),
            Argument("body", "text", "how much", words=("none", "head", "full"), default="head"),
            _MOST_BYTES,
        )
        return [
            Command(
                "message.peek",
                operator,
                "Look at messages, in order; nothing about them changes.",
                self._peek,
                peeking,
                needs=_BROWSE,
                place=_of_peek,
            ),
            Command(
                "message.get",
                operator,
                "Look at one message.",
                self._get,
                (
                    QUEUE,
                    Argument("id", "text", "its message-id", required=True),
                    replace(_MOST_BYTES, default=SHOWN_BYTES // 2),
                ),
                needs=_BROWSE,
                place=at_owner,
            ),
            Command(
                "message.count",
                Role.MONITOR,
                "Count the messages that wait, all, by selector or by headers.",
                self._count,
                (
                    QUEUE,
                    HEADERS,
                    SELECTOR,
                    Argument("group_by", "text or list", "header names; short names hold"),
                ),
                needs=_BROWSE,
                place=at_owner,
            ),
            Command(
                "message.group",
                Role.MONITOR,
                "Count the messages that wait by the values of their headers, most first.",
                self._group,
                (
                    QUEUE,
                    Argument("by", "text or list", "header names; short names hold", required=True),
                    HEADERS,
                    SELECTOR,
                    Argument("limit", "number", "groups at most", default=100, most=MOST_GROUPS),
                ),
                needs=_BROWSE,
                place=at_owner,
            ),
        ]

    def _that_send(self) -> list[Command]:
        return [
            Command(
                "message.send",
                Role.ADMIN,
                "Send messages.",
                self._send,
                (
                    Argument(
                        "destination",
                        "text",
                        "a queue or topic",
                        required=True,
                        names="destination",
                    ),
                    Argument("headers", "object", "of the message"),
                    Argument("body", "text", "of the message", default=""),
                    ENCODING,
                    Argument("count", "number", "how many", default=1, least=1, most=MOST_SENT),
                ),
                changes=True,
            ),
        ]

    # -- looking ----------------------------------------------------------------------------

    def _peek(self, call: Call) -> Steps[Result]:
        args, queue = call.args, self._context.queue(call.args["queue"])
        offset, limit = args["offset"], args["limit"]
        selection = selected(args)
        size = 0 if args["body"] == "none" else SHOWN_BYTES
        if args["state"] == "unacked" and self._context.peers is not None and not call.relayed:
            return (yield from self._peek_everywhere(call))
        offsets: tuple[int, ...] = ()
        if args["state"] == "unacked":
            is_meant = selection.test()
            found = [held for held in self._held(queue) if is_meant(held[0])]
            some = found[offset : offset + limit]
            if size:
                some = some[: first_bytes([message for message, _ in some], size)]
            more = offset + len(some) < len(found)
        else:
            look = Browse(selection, offset, limit, size, start=start_in(queue, args["start"]))
            browsed = yield from ask(partial(queue.browse, look))
            some, more, offsets = with_states(browsed), browsed.more, browsed.offsets
        told = yield from ask(queue.stats)
        most = {"none": None, "head": args["max_bytes"], "full": SHOWN_BYTES}[args["body"]]
        shown = [as_json(message, state, most) for message, state in some]
        for one, place in zip(shown, offsets, strict=False):
            one["stream_offset"] = place
        return {
            "queue": queue.name,
            "offset": offset,
            "ready": told.ready,
            "delayed": told.delayed,
            "unacked": told.unacked,
            "more": more,
            "messages": shown,
        }

    def _peek_everywhere(self, call: Call) -> Steps[Result]:
        """Look at what the clients of all brokers hold of a queue, oldest first."""
        offset, limit = call.args["offset"], call.args["limit"]
        args = {**call.request.args, "offset": 0, "limit": min(offset + limit, MOST_SHOWN)}
        request = Request(call.request.cmd, args)
        own = replace(call, args={**call.args, **args}, relayed=True)
        results = list((yield from self._context.ask_peers(call, request)).values())
        if not results or self._name(call) in self._context.router.queues:
            results.insert(0, (yield from self._peek(own)))
        found: list[dict[str, Any]] = []
        for result in results:
            found += cast(list[dict[str, Any]], result["messages"])
        found.sort(key=lambda message: int(message["message_id"]))
        some = found[offset : offset + limit]
        more = len(found) > offset + len(some) or any(result["more"] for result in results)
        return {**results[0], "offset": offset, "more": more, "messages": some}

    def _name(self, call: Call) -> str:
        return name_in(call.args["queue"])

    def _held(self, queue: Queue) -> list[tuple[Message, str]]:
        """Find the messages that are with consumers, and with whom. They have their bodies."""
        held = [
            (message, f"unacked by {session.key}")
            for session in self._context.sessions.values()
            for subscription in session.subscriptions.values()
            if isinstance(subscription, AckSubscription) and queue in queues_of(subscription.queue)
            for message in by_queue(subscription.queue, subscription.holds()).get(queue, ())
        ]
        return sorted(held, key=lambda entry: entry[0].sequence)

    def _get(self, call: Call) -> Steps[Result]:
        queue, wanted = self._context.queue(call.args["queue"]), call.args["id"]
        look = Browse(select([wanted]), most=1, bodies=SHOWN_BYTES)
        found = with_states((yield from ask(partial(queue.browse, look))))
        if not found:
            found = [held for held in self._held(queue) if held[0].message_id == wanted]
        if not found:
            raise not_found(f"there is no message {wanted[:60]!r} in {queue.name}")
        message, state = found[0]
        return as_json(message, state, call.args["max_bytes"])

    def _count(self, call: Call) -> Steps[Result]:
        queue, names = self._context.queue(call.args["queue"]), _names(call.args["group_by"])
        count = yield from self._counted(call, queue, names)
        rows = [
            {**dict(zip(names, values, strict=True)), **group.to_json()}
            for values, group in _largest(count)[:MOST_GROUPS]
        ]
        told = yield from ask(queue.stats)
        return {
            "queue": queue.name,
            "count": count.matched,
            "up_to": str(count.last),
            "unacked": told.unacked,
            "groups": rows if names else [],
            "groups_total": len(count.groups) if names else 0,
        }

    def _group(self, call: Call) -> Steps[Result]:
        queue, names = self._context.queue(call.args["queue"]), _names(call.args["by"])
        if not names:
            raise bad("'by' needs a header")
        count = yield from self._counted(call, queue, names)
        rows: list[dict[str, object]] = [
            {"values": dict(zip(names, values, strict=True)), **group.to_json()}
            for values, group in _largest(count)[: call.args["limit"]]
        ]
        return {
            "queue": queue.name,
            "matched": count.matched,
            "up_to": str(count.last),
            "groups": rows,
            "groups_total": len(count.groups),
        }

    def _counted(self, call: Call, queue: Queue, names: Sequence[str]) -> Steps[Count]:
        """Count what a request means, by the values of some headers."""
        selection = selected(call.args)
        readers = [read_header(name) for name in names]
        if selection.is_everything:
            count = yield from self._groups.count(queue, tuple(names), readers)
        else:
            count = yield from counted(queue, readers, selection)
        call.expect(count.matched)
        return count

    # -- sending ----------------------------------------------------------------------------

    def _send(self, call: Call) -> Steps[Result]:
        args = call.args
        destination = read_place("destination", args["destination"])
        body, headers = read_body(args["body"], args["encoding"]), read_headers(args["headers"])
        headers.pop("content-length", None)
        permissions = self._context.permissions(call)
        permissions.check_send(str(destination))
        if "reply-to" in headers:
            permissions.check_reply_to(headers["reply-to"])
        head = MessageHead.from_client({"destination": str(destination), **headers})
        router = self._context.router
        router.caps.check_headers(head.block)
        distribution = router.directions.distribution(destination)
        yield from agreed(partial(router.admit, destination, head))
        call.expect(args["count"])
        if not call.dry_run:
            router.note_time()
            for _ in range(args["count"]):
                if distribution is None:
                    router.publish(destination, head, body)
                else:
                    send = SpreadSend(router, distribution, head, body)
                    yield from agreed(partial(publish_spread, router, send))
        return {"sent": 0 if call.dry_run else args["count"], "destination": str(destination)}


def _names(given: str | Sequence[object] | None) -> list[str]:
    """Header names as a request gives them: one, or several."""
    return [given] if isinstance(given, str) else [str(name) for name in given or ()]


def _largest(count: Count) -> list[tuple[Values, Group]]:
    return sorted(count.groups.items(), key=lambda item: -item[1].count)
