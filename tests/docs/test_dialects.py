"""The matrix of the page on dialects says what the code does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from tests.docs.blocks import PAGES

from stompy.errors import UnsupportedByBroker
from stompy.session.browse_options import BrowseOptions
from stompy.session.dialects import (
    ACTIVEMQ,
    ARTEMIS,
    DIALECTS,
    RABBITMQ,
    STOMPY,
    UNKNOWN,
    Dialect,
    Nack,
)
from stompy.session.send_options import SendOptions
from stompy.session.subscribe_options import SubscribeOptions

PAGE = PAGES["docs/dialects.md"]

HEADINGS = {
    STOMPY: "ours",
    RABBITMQ: "RabbitMQ",
    ACTIVEMQ: "ActiveMQ",
    ARTEMIS: "Artemis",
    UNKNOWN: "unknown",
}

NACKS = {
    Nack.REDELIVERS: "delivered again",
    Nack.BURIES: "a dead letter",
    Nack.LOSES: "lost",
}


def headers(given: Mapping[str, str]) -> str:
    return "<br>".join(f"`{name}:{value}`" for name, value in given.items()) or "-"


def durable(dialect: Dialect) -> str:
    try:
        return headers(dialect.durable_headers("NAME", client_id="ID"))
    except UnsupportedByBroker:
        return "refused"


def needs_client_id(dialect: Dialect) -> str:
    try:
        dialect.durable_headers("NAME")
    except UnsupportedByBroker:
        return "-"
    except ValueError:
        return "yes"
    return "no"


def ending(dialect: Dialect) -> str:
    try:
        return str(len(dialect.durable_ending("1", "NAME", client_id="ID")))
    except UnsupportedByBroker:
        return "-"


def nack(**arguments: object) -> Callable[[Dialect], str]:
    def cell(dialect: Dialect) -> str:
        try:
            return headers(dialect.nack_headers(**arguments))  # type: ignore[arg-type]
        except UnsupportedByBroker:
            return "refused"

    return cell


def option(**options: object) -> Callable[[Dialect], str]:
    def cell(dialect: Dialect) -> str:
        try:
            return headers(SubscribeOptions(**options).headers_for(dialect))  # type: ignore[arg-type]
        except UnsupportedByBroker:
            return "refused"

    return cell


def asked(**options: object) -> Callable[[Dialect], str]:
    def cell(dialect: Dialect) -> str:
        try:
            given = SendOptions(**options).headers_for(dialect)  # type: ignore[arg-type]
        except UnsupportedByBroker:
            return "refused"
        return headers({name: str(value) for name, value in given.items()})

    return cell


def selector(dialect: Dialect) -> str:
    try:
        return headers(dialect.selector_headers("a = 1"))
    except UnsupportedByBroker:
        return "refused"


def browse(**options: object) -> Callable[[Dialect], str]:
    def cell(dialect: Dialect) -> str:
        try:
            return headers(BrowseOptions(**options).headers_for(dialect))  # type: ignore[arg-type]
        except UnsupportedByBroker:
            return "refused"

    return cell


def yes(flag: str) -> Callable[[Dialect], str]:
    return lambda dialect: "yes" if getattr(dialect, flag) else "no"


ROWS: dict[str, Callable[[Dialect], str]] = {
    "its `server` header begins with": lambda d: f"`{d.server}`" if d.server else "anything else",
    "a message to be kept": lambda d: headers(d.persistence_headers(True)),
    "a message not to be kept": lambda d: headers(d.persistence_headers(False)),
    "`prefetch=10`": lambda d: headers(d.prefetch_headers(10)),
    "`prefetch=1`": lambda d: headers(d.prefetch_headers(1)),
    "`prefetch=0`, no limit": lambda d: headers(d.prefetch_headers(0)),
    '`durable="NAME"`': durable,
    "… needs `client-id` in CONNECT": needs_client_id,
    "… UNSUBSCRIBEs to end it for good": ending,
    '`selector="a = 1"`': selector,
    "`no_local=True`": option(no_local=True),
    "`window_bytes=4096`": option(window_bytes=4096),
    "`pending_limit=1`": option(pending_limit=1),
    "`consumer_timeout=60`": option(consumer_timeout=60),
    '`share="NAME"`': option(share="NAME"),
    '`queue_name="NAME"`': option(queue_name="NAME"),
    "`exclusive=True`": option(exclusive=True),
    "`auto_delete=True`": option(auto_delete=True),
    "`priority=5`": option(priority=5),
    "`single_active=True`": option(single_active=True),
    '`offset="first"`': option(offset="first"),
    '`offset=-5, reader="NAME"`': option(offset=-5, reader="NAME"),
    '`filters=["a", "b"]`': option(filters=["a", "b"]),
    '`filters=["a"], unfiltered=True`': option(filters=["a"], unfiltered=True),
    "`retained=False`": option(retained=False),
    "`message(delay=60)`": asked(delay=60),
    "`message(at=…)`": asked(at=datetime(2027, 1, 1, tzinfo=UTC)),
    '`message(cron="0 9 * * *")`': asked(cron="0 9 * * *"),
    '`message(cron=…, zone="UTC")`': asked(cron="0 9 * * *", zone="UTC"),
    "`message(every=60)`": asked(every=60),
    "`message(every=60, times=3)`": asked(every=60, times=3),
    '`message(…, schedule_id="NAME")`': asked(schedule_id="NAME"),
    '`message(group="NAME")`': asked(group="NAME"),
    "`message(…, close_group=True)`": asked(group="NAME", close_group=True),
    '`message(dedup="ID")`': asked(dedup="ID"),
    "`message(retain=True)`": asked(retain=True),
    '`message(filter_value="a")`': asked(filter_value="a"),
    "a NACK is": lambda d: NACKS[d.nack],
    "`nack()`": nack(),
    "`nack(requeue=False)`": nack(requeue=False),
    '`nack(delay=1, reason="x")`': nack(delay=1, reason="x"),
    "`nack(failed=False)`": nack(failed=False),
    '`nack(delay=1, scope="group")`': nack(delay=1, scope="group"),
    "`reply-to` of a request": lambda d: f"`{d.reply_destination('ID')}`",
    "… is subscribed to by": lambda d: "the client" if d.subscribes_reply_queue else "the broker",
    "ACK within a transaction": lambda d: "yes" if d.transactional_ack else "refused",
    "receipts in a transaction come": lambda d: (
        "after COMMIT" if d.receipt_in_transaction_waits_for_commit else "at once"
    ),
    "ERROR names the receipt": yes("error_names_receipt"),
    "`message-id` stays on redelivery": yes("stable_message_id"),
    "`message(id=…)` is the header": lambda d: f"`{d.message_id_header}`",
    "`browse()`": browse(),
    "`browse(limit=5)`": browse(limit=5),
    '`browse(state="ready")`': browse(state="ready"),
    "SEND to `/queue/…` adds": lambda d: headers(
        d.destination_headers("/queue/x", for_subscribe=False)
    ),
    "SUBSCRIBE to `/topic/…` adds": lambda d: headers(
        d.destination_headers("/topic/x", for_subscribe=True)
    ),
}


def row(label: str, cells: list[str]) -> str:
    return f"| {' | '.join([label, *cells])} |"


def test_the_columns_are_all_dialects():
    assert set(HEADINGS) == set(DIALECTS)
    assert row("", list(HEADINGS.values())).replace("|  |", "| |", 1) in PAGE


@pytest.mark.parametrize("label", ROWS)
def test_the_matrix_is_true(label):
    expected = row(label, [ROWS[label](dialect) for dialect in HEADINGS])
    assert expected in PAGE.splitlines()


def test_nothing_else_is_in_the_matrix():
    lines = PAGE.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| | ours |"))
    labels = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        labels.append(line.split(" | ")[0].removeprefix("| "))
    assert labels == list(ROWS)
