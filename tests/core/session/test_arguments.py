import inspect
import math

import pytest

import stompy
from stompy.session import arguments
from stompy.session.arguments import (
    CONNECT,
    MESSAGE,
    SUBSCRIBE,
    check_destination,
    check_prefetch,
    check_refusal,
    check_subscription_id,
    check_times,
    json_bytes,
    slips,
)
from stompy.session.send_options import NAMES


@pytest.mark.parametrize(
    ("keywords", "call"),
    [
        (arguments.CONNECT, stompy.STOMPClient.connect),
        (arguments.SEND, stompy.STOMPClient.send),
        (arguments.MESSAGE, stompy.STOMPClient.message),
        (arguments.SUBSCRIBE, stompy.STOMPClient.subscribe),
        (arguments.UNSUBSCRIBE, stompy.STOMPClient.unsubscribe),
        (arguments.TRANSACTION_SEND, stompy.STOMPTransaction.send),
        (arguments.TRANSACTION_MESSAGE, stompy.STOMPTransaction.message),
    ],
)
def test_the_arguments_that_are_near_are_those_of_the_call(keywords, call):
    named = [
        one.name
        for one in inspect.signature(call).parameters.values()
        if one.name != "self" and one.kind is not one.VAR_KEYWORD
    ]
    # A header may well be called `time` or `groups`: that is no mistake for `times` or `group`.
    plain = {name for name in NAMES if "_" not in name}
    assert keywords._arguments == [name for name in named if name not in plain]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", 0),
        ("confirm", "confirm", 0),
        ("confrim", "confirm", 1),
        ("reconect", "reconnect", 1),
        ("recieptt", "receipt", 2),
        ("a", "", 1),
        ("", "abc", 3),
        ("ab", "ba", 1),
    ],
)
def test_slips(one, other, expected):
    assert slips(one, other) == slips(other, one) == expected


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("confrim", "confirm="),
        ("comfirm", "confirm="),
        ("confirmed", "confirm="),
        ("reciept", "receipt="),
        ("header", "headers="),
        ("timout", "timeout="),
        ("transacton", "transaction="),
        ("destinaton", "destination="),
        ("bdy", "body="),
        ("jsn", "json="),
        ("content_type", "headers={'content-type': 'x'}"),
        ("reply_to", "headers={'reply-to': 'x'}"),
        ("correlation_id", "headers={'correlation-id': 'x'}"),
        ("message_id", "id="),
        ("payload", "body="),
    ],
)
def test_what_looks_like_a_mistyped_argument_of_message(name, meant):
    with pytest.raises(TypeError) as caught:
        MESSAGE.check({name: "x"})
    assert repr(name) in str(caught.value)
    assert meant in str(caught.value)
    assert "headers={" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("reconect", "reconnect="),
        ("recconect", "reconnect="),
        ("pascode", "passcode="),
        ("password", "passcode="),
        ("username", "login="),
        ("hertbeat", "heart_beat="),
        ("heartbeat", "heart_beat="),
        ("client_id", "headers={'client-id': …}"),
        ("time_out", "timeout="),
        ("port", "addr_list="),
    ],
)
def test_what_looks_like_a_mistyped_argument_of_connect(name, meant):
    with pytest.raises(TypeError) as caught:
        CONNECT.check({name: "x"})
    assert meant in str(caught.value)


def test_the_words_of_other_clients_for_subscribe():
    with pytest.raises(TypeError, match="write ack_mode="):
        SUBSCRIBE.check({"ack": "client"})
    with pytest.raises(TypeError, match="prefetch-count"):
        SUBSCRIBE.check({"prefetch": 10})


@pytest.mark.parametrize(
    "headers",
    [
        {"b": "2", "size": 42, "priority": 5, "source": "test", "type": "x", "colour": "green"},
        {"persistent": True, "expires": 1, "x_trace": "1", "delay": 3, "a": 1, "c": "", "to": "x"},
        {"selector": "a = 1", "vhost": "/", "ack": "x", "user": "me", "ttl": 1, "kind": "order"},
    ],
)
def test_headers_of_messages_are_left_alone(headers):
    for _ in range(2):
        MESSAGE.check(headers)


def test_a_boolean_is_a_mistake_even_after_text_of_that_name_was_none():
    MESSAGE.check({"urgent": "true"})
    with pytest.raises(TypeError, match=r"headers=\{'urgent': True\}"):
        MESSAGE.check({"urgent": True})


def test_not_every_keyword_is_remembered(monkeypatch):
    monkeypatch.setattr(arguments, "_REMEMBERED", 2)
    keywords = arguments.FreeKeywords("call()", "argument")
    for number in range(5):
        keywords.check({f"n{number}": 1})
    assert len(keywords._harmless) == 2


def test_json_is_utf_8_and_no_more_than_json():
    assert json_bytes({"ü": [None]}) == '{"ü": [null]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes(math.nan)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json_bytes([1j])


@pytest.mark.parametrize("body", ["/queue/x", b"/topic/x", "/temp-queue/x"])
def test_destination_and_body_swapped(body):
    with pytest.raises(ValueError, match="swapped"):
        check_destination("hello", body)


@pytest.mark.parametrize("destination", [None, b"/queue/x", 42])
def test_a_destination_is_text(destination):
    with pytest.raises(TypeError, match="the destination must be text such as '/queue/NAME'"):
        check_destination(destination, "")


def test_a_destination_is_not_empty():
    with pytest.raises(ValueError, match="empty"):
        check_destination("", "")


def test_a_destination_without_a_slash_can_be_meant():
    check_destination("hello", "world")
    check_destination("/queue/hello", "/queue/hello")
    check_destination("hello")


@pytest.mark.parametrize("seconds", ["5", None, True, [1]])
def test_a_time_to_wait_is_a_number(seconds):
    with pytest.raises(TypeError, match="send_timeout= is a number of seconds, not"):
        check_times((1, 1), timeout=1, send_timeout=seconds)


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_a_time_to_wait_is_not_over_before_it_begins(seconds):
    with pytest.raises(ValueError, match="timeout= is 0 seconds or more"):
        check_times((1, 1), timeout=seconds)


def test_a_reason_in_the_place_of_requeue():
    with pytest.raises(TypeError, match=r"requeue= is True or False, not 'too big'.*reason="):
        check_refusal("too big", None)


@pytest.mark.parametrize("delay", ["5", True])
def test_a_delay_is_a_number(delay):
    with pytest.raises(TypeError, match="delay= is a number of seconds"):
        check_refusal(True, delay)


@pytest.mark.parametrize("prefetch", ["10", True, 1.5])
def test_a_prefetch_is_a_whole_number(prefetch):
    with pytest.raises(TypeError, match="prefetch= is a whole number of messages"):
        check_prefetch(prefetch)


def test_an_unsubscription_goes_by_the_id():
    with pytest.raises(ValueError, match="not the destination '/queue/a'"):
        check_subscription_id("/queue/a")


def test_a_function_takes_the_arguments_of_a_method_and_explains_them() -> None:
    class Maker:
        def make(self, /, name: str, *, size: int = 1) -> str:
            """Make it.

            Args:
                name: what it is called.
                size: how large it is.

            Returns:
                Its name.

            Raises:
                ValueError: it cannot be.
            """
            return name * size

    @arguments.takes_the_arguments_of(Maker.make)
    def make(*given: object, **named: object) -> bytes:
        """Make one of your own.

        Returns:
            What was made.
        """
        return Maker().make(*given, **named).encode()

    assert make("a", size=2) == b"aa"
    assert str(inspect.signature(make)) == "(name: str, *, size: int = 1) -> bytes"
    explained = inspect.getdoc(make) or ""
    sections = [line for line in explained.splitlines() if line and not line.startswith(" ")]
    assert sections == ["Make one of your own.", "Args:", "Returns:", "Raises:"]
    assert "    size: how large it is." in explained
    assert "    What was made." in explained
