"""What callers hand in: what is mistaken is refused, in words that say what to write instead. Pure.

The calls of the manual take free keywords for headers, so Python itself cannot tell a mistyped
argument from a header; `FreeKeywords` can. A header with a name that looks like a mistake is still
possible: in ``headers``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.protocol.headers import Version
from stompy.session.commands import HeaderValue

_REMEMBERED = 1000
"""How many harmless keywords are remembered."""

_HYPHENATED = frozenset(
    """
    accept-version ack-mode auto-delete client-id consumer-window-size content-encoding
    content-length content-type correlation-id dead-letter-reason dedup-id dedup-ttl delivery-count
    destination-type
    durable-subscription-name error-code heart-beat message-id no-local original-destination
    prefetch-count receipt-id reply-to subscription-type x-cron x-cron-zone x-delay x-deliver-at
    x-group-id x-priority x-repeat-every x-repeat-times x-schedule-cancel x-schedule-id
    x-single-active-consumer
    """.split()  # noqa: SIM905 -- names without quotes between are easier to read
)
"""Headers of brokers that cannot be written as a keyword, where an underscore would stay one."""

_TRUTHS = frozenset(("browser", "durable", "exclusive", "persistent", "redelivered", "requeue"))
"""Headers that are true or false. Any other boolean is a mistyped argument, more likely."""

_OTHER_WORDS = {
    "ack": "ack_mode",
    "client_id": "headers={'client-id': …}",
    "content": "body",
    "heartbeat": "heart_beat",
    "heartbeats": "heart_beat",
    "message_id": "id",
    "password": "passcode",
    "passwd": "passcode",
    "payload": "body",
    "port": "addr_list",
    "prefetch": "headers={'prefetch-count': …}",
    "ssl": "tls",
    "ssl_context": "tls",
    "user": "login",
    "username": "login",
    "vhost": "host",
}
"""What other clients call an argument; it counts where the call has that argument."""

_PREFIXES = ("/queue/", "/topic/", "/temp-queue/", "/temp-topic/", "/exchange/", "/amq/queue/")

_COMMANDS = frozenset(("SEND", "BEGIN", "COMMIT", "ABORT", "ACK", "NACK"))
"""What is mostly sent, and needs no closer look."""

E = TypeVar("E", bound=StrEnum)
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])


class Nothing:
    """The type of `NOTHING`: no argument was given, not even None."""

    def __repr__(self) -> str:
        """As a signature shows it."""
        return "NOTHING"


NOTHING: Final = Nothing()


class FreeKeywords:
    """The free keywords of one call, which become headers.

    Args:
        call: its name, for the refusal.
        arguments: the names of its arguments, with blanks between.
    """

    def __init__(self, call: str, arguments: str) -> None:
        self._call = call
        self._arguments = arguments.split()
        self._harmless: set[str] = set()

    def check(self, given: Mapping[str, HeaderValue]) -> None:
        """See whether these are headers.

        Raises:
            TypeError: one looks like a mistake; the text says what to write instead.
        """
        harmless = self._harmless
        for name, value in given.items():
            if name not in harmless or value is True or value is False:
                self._examine(name, value)

    def _examine(self, name: str, value: HeaderValue) -> None:
        remedy = self._remedy(name, value)
        if remedy is not None:
            raise TypeError(f"{self._call} has no argument {name!r}: {remedy}")
        if len(self._harmless) < _REMEMBERED:
            self._harmless.add(name)

    def _remedy(self, name: str, value: HeaderValue) -> str | None:
        as_header = f"for a header of that name write headers={{{name!r}: {value!r}}}"
        meant = _OTHER_WORDS.get(name)
        if meant is not None and (meant in self._arguments or meant.startswith("headers")):
            return f"write {_call_of(meant)}; {as_header}"
        hyphenated = name.replace("_", "-")
        if hyphenated != name and hyphenated in _HYPHENATED:
            return f"write headers={{{hyphenated!r}: {value!r}}}"
        near = nearest(name, self._arguments)
        if near is not None:
            return f"did you mean {near}=? {as_header[0].upper()}{as_header[1:]}"
        if value.__class__ is bool and name not in _TRUTHS:
            return f"a header is text or a number, not {value}; {as_header}"
        return None


def _call_of(meant: str) -> str:
    return meant if "=" in meant else f"{meant}="


def nearest(name: str, words: Iterable[str]) -> str | None:
    """The word of which this is a misspelling: one slip in a short one, two in a longer one."""
    for word in get_close_matches(name, words, n=2, cutoff=0.6):
        if slips(name, word) <= min(2, (len(word) - 1) // 3):
            return word
    return None


def slips(one: str, other: str) -> int:
    """How many letters are missing, too many, wrong or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


CONNECT = FreeKeywords(
    "connect()",
    "addr_list login passcode headers timeout host versions heart_beat heart_beat_grace limits "
    "send_timeout tls reconnect on_state content_length on_send clock",
)
SEND = FreeKeywords("send()", "command headers body transaction receipt confirm timeout")
MESSAGE = FreeKeywords(
    "message()",
    "destination body id headers receipt transaction confirm timeout json schedule_id close_group "
    "filter_value",
)
TRANSACTION_SEND = FreeKeywords("send()", "command headers body receipt")
TRANSACTION_MESSAGE = FreeKeywords(
    "message()", "destination body id headers receipt json schedule_id close_group filter_value"
)
SUBSCRIBE = FreeKeywords("subscribe()", "dest ack_mode send_acks id headers receipt")
UNSUBSCRIBE = FreeKeywords("unsubscribe()", "sub_id headers receipt")


def with_fields(call: F, options: type) -> F:
    """Show a call with the fields of a class of options, which it takes as free keywords."""
    signature = inspect.signature(call)
    given = list(signature.parameters.values())
    more = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(options).parameters.values()
    ]
    free = given.pop()
    last = [free] if free.name == "kv_headers" else []
    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*given, *more, *last]
    )
    return call


def takes_the_arguments_of(
    method: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Say that a function passes its arguments on to a method, and explain them as that does.

    Signature and annotations become those of the method without ``self``, and *Args* and *Raises*
    of its docstring are added.
    """

    def explained(function: Callable[..., R]) -> Callable[P, R]:
        signature = inspect.signature(method)
        returns = function.__annotations__["return"]
        function.__annotations__ = {**method.__annotations__, "return": returns}
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=list(signature.parameters.values())[1:], return_annotation=returns
        )
        own, theirs = (inspect.getdoc(one) or "" for one in (function, method))
        what, _, gives = own.partition("\n\nReturns:")
        arguments = theirs[theirs.find("\n\nArgs:") : theirs.find("\n\nReturns:")]
        raises = theirs[theirs.find("\n\nRaises:") :]
        if own:  # else Python leaves docstrings out
            function.__doc__ = f"{what}{arguments}\n\nReturns:{gives}{raises}\n"
        return function

    return explained


def json_body(
    value: object, body: bytes | str, headers: Mapping[str, HeaderValue]
) -> tuple[bytes, Mapping[str, HeaderValue]]:
    """The body that holds a value as JSON, and the headers that say so.

    Raises:
        TypeError: there is a body beside it, or the value cannot be written as JSON.
        ValueError: likewise, for numbers that are none.
    """
    if body:
        raise TypeError("give the body or json=, not both")
    return json_bytes(value), json_headers(headers)


def json_bytes(value: object) -> bytes:
    """A value as JSON.

    Raises:
        TypeError: it cannot be written as JSON.
        ValueError: likewise, for numbers that are none.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def json_headers(headers: Mapping[str, HeaderValue]) -> Mapping[str, HeaderValue]:
    """These headers, and the one that says what the body is."""
    return {"content-type": "application/json", **headers}


def check_bodies(bodies: object, values: object) -> None:
    """Whether these are several bodies, or several values to be sent as JSON.

    Raises:
        TypeError: it is one, or both are given, or neither.
    """
    if (bodies is None) == (values is None):
        raise TypeError("give bodies or json=, one of them")
    if isinstance(values, str | bytes | dict):
        raise TypeError(
            f"json= must be a list of values or the like, not {type(values).__name__}; "
            "message(json=…) sends one value"
        )
    if isinstance(bodies, str | bytes | bytearray | memoryview):
        raise TypeError(
            f"the bodies must be a list or the like, not {type(bodies).__name__}, which would be "
            "sent letter by letter; message() sends one body"
        )


def check_destination(destination: object, body: object = None) -> None:
    """Whether a destination that does not begin with a slash can be meant.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or what was to be the body.
    """
    if not isinstance(destination, str):
        raise TypeError(
            f"the destination must be text such as '/queue/NAME', not {type(destination).__name__}"
        )
    if destination.startswith("/"):
        return
    if not destination:
        raise ValueError("the destination is empty; write one such as '/queue/NAME'")
    start = body[:20].decode("latin-1") if isinstance(body, bytes) else body
    if isinstance(start, str) and start.startswith(_PREFIXES):
        raise ValueError(
            "destination and body look swapped: the destination comes first, the body second; "
            f"if {destination!r} is meant write '/queue/{destination}'"
        )


def word_of(kind: type[E], word: str, noun: str) -> E:
    """One of a few words.

    Raises:
        ValueError: it is none of them.
    """
    try:
        return kind(word)
    except ValueError:
        words = ", ".join(repr(str(one)) for one in kind)
        raise ValueError(f"there is no {noun} {word!r}; there are {words}") from None


def ack_mode_of(word: str) -> AckMode:
    """An ack mode.

    Raises:
        ValueError: there is no such mode; the text lists them.
    """
    return word_of(AckMode, word, "ack mode")


def check_command(command: object) -> None:
    """Whether this can be the command of a frame.

    Raises:
        TypeError: it is no text.
        ValueError: it is a destination, or no word at all.
    """
    if command.__class__ is str and command in _COMMANDS:
        return
    if not isinstance(command, str):
        raise TypeError(f"the command must be text such as 'SEND', not {type(command).__name__}")
    if command.startswith("/"):
        raise ValueError(
            f"send() takes the command of a frame, not the destination {command!r}; "
            "message(destination, body) sends a message"
        )
    if not command.isascii() or not command.isalpha():
        raise ValueError(f"a command is a word such as 'SEND', not {command!r}")


def check_subscription_id(sub_id: object) -> None:
    """Whether this can be the id of a subscription.

    Raises:
        TypeError: it is no text.
        ValueError: it is a destination.
    """
    returned = "unsubscribe() takes what subscribe() or subscription() returned, not"
    if not isinstance(sub_id, str):
        raise TypeError(f"{returned} {type(sub_id).__name__}")
    if sub_id.startswith(_PREFIXES):
        raise ValueError(f"{returned} the destination {sub_id!r}")


def check_message(message: object) -> None:
    """Whether a subscription can settle this.

    Raises:
        TypeError: it is no message that a subscription has given.
    """
    if not isinstance(message, STOMPFrame) or not hasattr(message, "settlement"):
        raise TypeError(
            "a subscription settles messages that it has given, "
            f"not {type(message).__name__}; client.ack() takes the ack header"
        )


def check_receipt_id(receipt_id: object) -> None:
    """Whether this can be the id of a receipt.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(receipt_id, str):
        raise TypeError(
            "wait_for_receipt() takes the receipt id that message(receipt=True) gave, "
            f"not {type(receipt_id).__name__}"
        )


def versions_of(given: Sequence[Version | str] | Version | str) -> tuple[Version, ...]:
    """Versions of STOMP to offer; a single one may stand by itself.

    Raises:
        ValueError: there is no such version; the text lists them.
    """
    several = (given,) if isinstance(given, str) else tuple(given)
    return tuple(word_of(Version, one, "version of STOMP") for one in several)


def check_times(heart_beat: object, **patience: object) -> None:
    """Whether these are two intervals, and times to wait.

    Raises:
        TypeError: they are not.
        ValueError: a time is over before it begins.
    """
    if not (
        isinstance(heart_beat, tuple | list) and [type(one) for one in heart_beat] == [int, int]
    ):
        raise TypeError(
            "heart_beat= takes two whole numbers of milliseconds, what we send and what we want: "
            f"(10000, 10000), not {heart_beat!r}"
        )
    for name, seconds in patience.items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"{name}= is a number of seconds, not {seconds!r}")
        if not seconds >= 0:
            raise ValueError(f"{name}= is 0 seconds or more, not {seconds!r}")


def check_refusal(requeue: object, delay: object, scope: object = "message") -> None:
    """Whether these say what becomes of a message that is refused.

    Raises:
        TypeError: they are of the wrong kind.
        ValueError: there is no such scope.
    """
    if scope not in ("message", "group"):
        raise ValueError(f"scope= is 'message' or 'group', not {scope!r}")
    if not isinstance(requeue, bool):
        raise TypeError(
            f"requeue= is True or False, not {requeue!r}; why a message is refused is reason="
        )
    if delay is not None and (isinstance(delay, bool) or not isinstance(delay, int | float)):
        raise TypeError(f"delay= is a number of seconds, not {delay!r}")


def check_prefetch(prefetch: object) -> None:
    """Whether this is a number of messages, or None.

    Raises:
        TypeError: it is neither.
    """
    if prefetch is not None and (isinstance(prefetch, bool) or not isinstance(prefetch, int)):
        raise TypeError(f"prefetch= is a whole number of messages, not {prefetch!r}")


def check_ack(ack: object) -> None:
    """Whether this can name a message that is to be settled.

    Raises:
        TypeError: it is neither a message nor its ``ack`` header.
    """
    if not isinstance(ack, str | STOMPFrame):
        raise TypeError(
            "what is settled is a message or its ack header, frame['ack'], "
            f"not {type(ack).__name__}"
        )
