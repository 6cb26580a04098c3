"""How brokers differ: what the one we met wants to be asked, and what it makes of an answer. Pure.

STOMP leaves to each broker how a client bounds what is under way to it, names a durable
subscription, gets a reply, and what a NACK does. A `Dialect` holds one broker's ways as data;
`dialect_of` finds it by the ``server`` header of CONNECTED. What a broker cannot do without losing
messages raises `UnsupportedByBroker`, and nothing is sent.

The table is documented, broker by broker, in the manual's page on dialects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from stompy.errors import UnsupportedByBroker

UNLIMITED = 0
"""A prefetch without limit."""


class Nack(StrEnum):
    """What a broker does with a refused message."""

    REDELIVERS = "redelivers"
    """It is delivered again, unless the NACK says ``requeue:false``."""
    BURIES = "dead-letters"
    """It goes to the dead letters at once, whatever the NACK says."""
    LOSES = "loses"
    """It is gone, as if it had been acknowledged."""


NackScopeWord = Literal["message", "group"]
"""What a NACK holds back: the message, or all that have its group."""

_GROUPS = {"group": "JMSXGroupID", "close_group": "JMSXGroupSeq"}
_JAVA_ROUTING = {"/queue/": "ANYCAST", "/topic/": "MULTICAST"}


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One broker's ways; there is one object for each broker.

    The defaults are those of the specification, where it has any.

    Attributes:
        name: the broker's name, for people.
        server: what stands before the slash in its ``server`` header.
        subscribes_reply_queue: whether a client subscribes to its reply queue by SUBSCRIBE. If
            not, the broker does it at the SEND with ``reply-to``; the replies then carry the reply
            destination as their ``subscription``, and nothing ends that subscription.
        nack: what a NACK does.
        nack_knows_why: whether a NACK may say ``delay``, ``reason`` and ``delivery-failed``.
        transactional_ack: whether ACK and NACK may belong to a transaction.
        receipt_in_transaction_waits_for_commit: whether the receipt of a frame in a transaction
            comes only after COMMIT, and never after ABORT.
        error_names_receipt: whether an ERROR says, in ``receipt-id``, which frame caused it.
        stable_message_id: whether a message keeps its ``message-id`` when it is delivered again.
        message_id_header: the header of SEND that holds the application's id for a message.
        browses: whether ``browser:true`` shows the messages of a queue, and leaves them there.
        browses_in_part: whether it may be told which, how many, and how.
        selects: whether a ``selector`` of SUBSCRIBE chooses messages, as far as is known.
        answers_requests: whether it answers a request itself when nobody is there, and so on.
        dedup_headers: headers of a SEND with an id, by which it drops what was sent before; the
            first is the one to write, and there is none where it takes everything.
        dedup_in_transactions: whether a transaction may be sent again as a whole, because only
            what was sent before is dropped of it.
    """

    name: str
    server: str = ""
    subscribes_reply_queue: bool = True
    nack: Nack = Nack.REDELIVERS
    nack_knows_why: bool = False
    transactional_ack: bool = True
    receipt_in_transaction_waits_for_commit: bool = False
    error_names_receipt: bool = True
    stable_message_id: bool = True
    message_id_header: str = "message-id"
    browses: bool = False
    browses_in_part: bool = False
    selects: bool = True
    answers_requests: bool = False
    dedup_headers: tuple[str, ...] = ()
    dedup_in_transactions: bool = False
    passed_on: tuple[str, ...] = ()
    """Headers of a SEND that were meant for the broker, and that consumers get nevertheless."""
    _knows_transient: bool = True
    """Whether ``persistent:false`` means what it says; else it is for messages that say nothing."""
    _prefetch: tuple[str, ...] = ("prefetch-count",)
    """Headers that hold a number of messages."""
    _prefetch_words: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Numbers of messages that are said in another way."""
    _durable: Mapping[str, str] | None = None
    """Headers of a durable subscription, ``{}`` standing for its name; None if it has none."""
    _durable_needs_client_id: bool = True
    _leaves_before_ending: bool = False
    """Whether a durable subscription that is in use cannot be ended, not even by who uses it."""
    _options: Mapping[str, str] = field(default_factory=dict)
    """Headers of SUBSCRIBE for what a subscription may ask for, by the clients' own names."""
    _send: Mapping[str, str] = field(default_factory=dict)
    """Headers of SEND for what a message may ask for, likewise."""
    _reply: str = "/temp-queue/{}"
    routing: Mapping[str, str] = field(default_factory=dict)
    """Kinds of routing that must be named, by the prefix of the destination."""

    def persistence_headers(self, persistent: bool) -> dict[str, str]:
        """Headers of a SEND that say whether the message is to be kept on disk."""
        if persistent:
            return {"persistent": "true"}
        return {"persistent": "false"} if self._knows_transient else {}

    def prefetch_headers(self, count: int | None) -> dict[str, str]:
        """Headers of a SUBSCRIBE by which so many messages at most are unsettled at once.

        Args:
            count: number of messages; `UNLIMITED`, 0, for no limit; None for the broker's default.

        Returns:
            The headers; an empty dictionary where the broker cannot be told such a number.

        Raises:
            ValueError: a negative number.
        """
        if count is None:
            return {}
        if count < 0:
            raise ValueError(f"a prefetch is a number of messages or 0 for no limit, not {count}")
        if count in self._prefetch_words:
            return dict(self._prefetch_words[count])
        return {name: str(count) for name in self._prefetch}

    def option_header(self, option: str) -> str:
        """The header of SUBSCRIBE that says something about a subscription.

        Args:
            option: what the clients call it.

        Raises:
            UnsupportedByBroker: there is none here, as far as is known.
        """
        header = self._options.get(option)
        if header is None:
            raise UnsupportedByBroker(
                f"{self.name} knows no {option} of a subscription over STOMP, as far as this "
                "library knows; if it does, give its header yourself"
            )
        return header

    def send_header(self, option: str) -> str:
        """The header of SEND that says something about a message.

        Args:
            option: what the clients call it.

        Raises:
            UnsupportedByBroker: there is none here, as far as is known.
        """
        header = self._send.get(option)
        if header is None:
            raise UnsupportedByBroker(
                f"{self.name} knows no {option} of a message over STOMP, as far as this library "
                "knows, and would deliver it as any other; if it does, give its header yourself"
            )
        return header

    def selector_headers(self, selector: str | None) -> dict[str, str]:
        """Headers of SUBSCRIBE by which only messages come that match.

        Args:
            selector: the condition; None for all messages.

        Raises:
            UnsupportedByBroker: it would be ignored, and all messages would come.
        """
        if selector is None:
            return {}
        if not self.selects:
            raise UnsupportedByBroker(
                f"{self.name} ignores selectors over STOMP, so every message would come; if it has "
                "something like them, give its header yourself"
            )
        return {"selector": selector}

    def durable_headers(self, name: str, *, client_id: str | None = None) -> dict[str, str]:
        """Headers that make a topic subscription durable.

        SUBSCRIBE wants them each time, to make the subscription or to come back to it. An
        UNSUBSCRIBE without them only leaves; see `durable_ending`.

        Args:
            name: its name.
            client_id: the ``client-id`` header that CONNECT had.

        Raises:
            UnsupportedByBroker: this broker has no durable subscriptions, as far as is known.
            ValueError: no name; or the broker knows such subscriptions by ``client-id`` and name,
                and CONNECT had no ``client-id``.
        """
        if not name:
            raise ValueError("a durable subscription needs a name")
        if self._durable is None:
            raise UnsupportedByBroker(
                f"{self.name} has no durable subscriptions that this library knows of; "
                "if it has, give their headers yourself"
            )
        if self._durable_needs_client_id and not client_id:
            raise ValueError(
                f"{self.name} knows a durable subscription by the client-id of its connection and "
                "its name: connect with headers={'client-id': …}"
            )
        return {header: value.format(name) for header, value in self._durable.items()}

    def durable_ending(
        self, sub_id: str, name: str, *, client_id: str | None = None
    ) -> tuple[dict[str, str], ...]:
        """Headers of the UNSUBSCRIBE, or of one after the other, that end such a subscription.

        Args:
            sub_id: the id that it has on this connection.
            name: its name.
            client_id: the ``client-id`` header that CONNECT had.

        Raises:
            UnsupportedByBroker: as `durable_headers`.
            ValueError: as `durable_headers`.
        """
        last = {"id": sub_id, **self.durable_headers(name, client_id=client_id)}
        return ({"id": sub_id}, last) if self._leaves_before_ending else (last,)

    def reply_destination(self, token: str) -> str:
        """Where replies to this client can be sent, for ``reply-to``.

        Args:
            token: a word that nobody else uses; it has to be hard to guess where the destination
                is not the client's own by the broker's rules.
        """
        return self._reply.format(token)

    def nack_headers(
        self,
        requeue: bool = True,
        delay: float | None = None,
        reason: str | None = None,
        failed: bool = True,
        scope: NackScopeWord = "message",
    ) -> dict[str, str]:
        """Headers of a NACK, beside those that name the message.

        Args:
            requeue: whether the message is to be delivered again; if not, it is for the dead
                letters.
            delay: seconds until then; left out where the broker has no such thing.
            reason: why it is refused; likewise.
            failed: whether the delivery counts as failed; likewise.
            scope: whether the delay is that of the whole group; likewise.

        Raises:
            UnsupportedByBroker: the message would be lost.
            ValueError: a delay that cannot be.
        """
        if delay is not None and not 0 <= delay < math.inf:
            raise ValueError(f"a delay is a number of seconds, not {delay}")
        if self.nack is Nack.LOSES:
            raise UnsupportedByBroker(
                f"{self.name} forgets a message that is refused; unsubscribe, and it gets back "
                "what was not acknowledged"
            )
        if self.nack is Nack.BURIES:
            return {}
        headers = {"requeue": "true" if requeue else "false"}
        if self.nack_knows_why:
            if delay is not None:
                headers["delay"] = str(round(delay * 1000))
            if reason:
                headers["reason"] = reason
            if not failed:
                headers["delivery-failed"] = "false"
            if scope == "group":
                headers["scope"] = "group"
        return headers

    def check_settlement(self, transaction: str | None) -> None:
        """Whether an ACK or NACK may belong to this transaction, or to none.

        Raises:
            UnsupportedByBroker: the broker would ignore the transaction.
        """
        if transaction is not None and not self.transactional_ack:
            raise UnsupportedByBroker(
                f"{self.name} acknowledges at once, also within a transaction, so an ABORT would "
                "lose the message; acknowledge it after COMMIT"
            )

    def check_confirmation(self) -> None:
        """Whether a frame within a transaction can be confirmed before its end.

        Raises:
            UnsupportedByBroker: it cannot.
        """
        if self.receipt_in_transaction_waits_for_commit:
            raise UnsupportedByBroker(
                f"{self.name} confirms what belongs to a transaction only after COMMIT, so have "
                "that confirmed instead"
            )

    def destination_headers(self, destination: str, *, for_subscribe: bool) -> dict[str, str]:
        """Headers of a SEND or SUBSCRIBE that say what kind of destination this is.

        Args:
            destination: the destination.
            for_subscribe: whether they are for SUBSCRIBE, else for SEND.
        """
        if not self.routing:
            return {}
        header = "subscription-type" if for_subscribe else "destination-type"
        for prefix, kind in self.routing.items():
            if destination.startswith(prefix):
                return {header: kind}
        return {}


STOMPY = Dialect(
    "stompy-broker",
    "stompy-broker",
    nack_knows_why=True,
    browses=True,
    browses_in_part=True,
    answers_requests=True,
    dedup_headers=("dedup-id", "_AMQ_DUPL_ID", "x-deduplication-header", "Nats-Msg-Id"),
    dedup_in_transactions=True,
    _durable={"durable-subscription-name": "{}"},
    _options={
        "no_local": "no-local",
        "window_bytes": "consumer-window-size",
        "pending_limit": "pending-limit",
        "consumer_timeout": "x-consumer-timeout",
        "share": "share",
        "queue_name": "x-queue-name",
        "exclusive": "exclusive",
        "auto_delete": "auto-delete",
        "priority": "x-priority",
        "single_active": "x-single-active-consumer",
        "offset": "x-stream-offset",
        "tracking": "x-stream-automatic-offset-tracking",
        "reader": "x-stream-consumer",
        "filters": "x-stream-filter",
        "unfiltered": "x-stream-match-unfiltered",
        "retained": "retained",
    },
    _send={
        "delay": "x-delay",
        "at": "x-deliver-at",
        "cron": "x-cron",
        "zone": "x-cron-zone",
        "every": "x-repeat-every",
        "times": "x-repeat-times",
        "schedule_id": "x-schedule-id",
        "cancel_schedule": "x-schedule-cancel",
        "dedup": "dedup-id",
        "retain": "x-retain",
        "filter_value": "x-stream-filter-value",
        **_GROUPS,
    },
)

RABBITMQ = Dialect(
    "RabbitMQ",
    "RabbitMQ",
    subscribes_reply_queue=False,
    receipt_in_transaction_waits_for_commit=True,
    error_names_receipt=False,
    stable_message_id=False,
    # It would hand out what the selector does not want.
    selects=False,
    # It answers a SEND that has a message-id with ERROR.
    message_id_header="amqp-message-id",
    passed_on=("receipt", "transaction"),
    # It would set up the queue as one that ends with its connection.
    _knows_transient=False,
    # The name of the queue behind it, so that the subscription's id is free.
    _durable={"durable": "true", "auto-delete": "false", "x-queue-name": "durable.{}"},
    _durable_needs_client_id=False,
    _options={
        "queue_name": "x-queue-name",
        "exclusive": "exclusive",
        "auto_delete": "auto-delete",
    },
)

ACTIVEMQ = Dialect(
    "ActiveMQ",
    "ActiveMQ",
    nack=Nack.BURIES,
    browses=True,
    _prefetch=("activemq.prefetchSize",),
    # Its 0 is for consumers that ask for each message, which STOMP cannot.
    _prefetch_words={UNLIMITED: {"activemq.prefetchSize": "32766"}},
    _durable={"activemq.subscriptionName": "{}"},
    _leaves_before_ending=True,
    _options={
        "no_local": "activemq.noLocal",
        "pending_limit": "activemq.maximumPendingMessageLimit",
        "priority": "activemq.priority",
        "single_active": "activemq.exclusive",
    },
    # Its scheduler has to be on; it knows no time of day.
    _send={
        "delay": "AMQ_SCHEDULED_DELAY",
        "cron": "AMQ_SCHEDULED_CRON",
        "every": "AMQ_SCHEDULED_PERIOD",
        "times": "AMQ_SCHEDULED_REPEAT",
        "retain": "ActiveMQ.Retain",
        **_GROUPS,
    },
)

ARTEMIS = Dialect(
    "ActiveMQ Artemis",
    "ActiveMQ-Artemis",
    nack=Nack.LOSES,
    transactional_ack=False,
    # It counts bytes only: none for one message at a time, -1 for no limit.
    _prefetch=(),
    _prefetch_words={
        UNLIMITED: {"consumer-window-size": "-1"},
        1: {"consumer-window-size": "0"},
    },
    _durable={"durable-subscription-name": "{}"},
    _options={"no_local": "no-local", "window_bytes": "consumer-window-size"},
    # Of a transaction it drops all for one duplicate.
    dedup_headers=("_AMQ_DUPL_ID",),
    _send={
        "delay": "AMQ_SCHEDULED_DELAY",
        "at": "AMQ_SCHEDULED_TIME",
        "group": "JMSXGroupID",
        "dedup": "_AMQ_DUPL_ID",
    },
    # Without temporary queues: one that goes when nobody uses it.
    _reply="/queue/stompy.reply.{}",
    routing=_JAVA_ROUTING,
)

UNKNOWN = Dialect(
    "this broker",
    nack_knows_why=True,
    error_names_receipt=False,
    stable_message_id=False,
    # Headers that a broker does not know are to be ignored.
    _prefetch=("prefetch-count", "activemq.prefetchSize"),
    _prefetch_words={UNLIMITED: {"prefetch-count": "0"}},
)

DIALECTS = (STOMPY, RABBITMQ, ACTIVEMQ, ARTEMIS, UNKNOWN)
"""All there are."""

_BY_SERVER = {dialect.server.lower(): dialect for dialect in DIALECTS if dialect.server}


def dialect_of(server: str | None) -> Dialect:
    """The dialect of a broker.

    Args:
        server: the ``server`` header of its CONNECTED frame, ``NAME/VERSION COMMENT``; None when
            it had none.
    """
    name = (server or "").partition("/")[0].strip().lower()
    return _BY_SERVER.get(name, UNKNOWN)
