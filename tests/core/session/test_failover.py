"""``failover:`` addresses as ActiveMQ writes them."""

import pytest

from stompy.session.failover import parse_failover, read_addresses
from stompy.session.reconnect import Reconnect

URLS = ("stomp://one:1", "stomp://two:2")


@pytest.mark.parametrize(
    "text",
    [
        "failover:(stomp://one:1,stomp://two:2)",
        "failover:( stomp://one:1 , stomp://two:2 )",
        "failover://(stomp://one:1,stomp://two:2)",
        "failover:stomp://one:1,stomp://two:2",
        "FAILOVER:(stomp://one:1,stomp://two:2)",
    ],
)
def test_the_ways_of_writing_it(text):
    found = parse_failover(text)
    assert found.urls == URLS
    assert found.reconnect == Reconnect(shuffle=True)
    addresses, policy = read_addresses(text, False)
    assert [address.host for address in addresses] == ["one", "two"]
    assert policy == found.reconnect


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("randomize=false", Reconnect()),
        ("initialReconnectDelay=10", Reconnect(delay=0.01, shuffle=True)),
        ("maxReconnectDelay=5000", Reconnect(max_delay=5.0, shuffle=True)),
        ("useExponentialBackOff=false", Reconnect(multiplier=1.0, shuffle=True)),
        ("reconnectDelayExponent=3", Reconnect(multiplier=3.0, shuffle=True)),
        ("backOffMultiplier=1.5", Reconnect(multiplier=1.5, shuffle=True)),
        ("maxReconnectAttempts=-1", Reconnect(shuffle=True)),
        ("maxReconnectAttempts=4", Reconnect(attempts=4, shuffle=True)),
        ("maxReconnectAttempts=0", None),
        ("updateURIsSupported=false", Reconnect(shuffle=True, peers=False)),
        ("startupMaxReconnectAttempts=-1", Reconnect(startup_attempts=None, shuffle=True)),
        ("startupMaxReconnectAttempts=0", Reconnect(shuffle=True)),
        ("startupMaxReconnectAttempts=3&randomize=false", Reconnect(startup_attempts=3)),
    ],
)
def test_the_options(options, expected):
    assert parse_failover(f"failover:(stomp://one:1)?{options}").reconnect == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("failover:()", "at least one broker"),
        ("failover:", "at least one broker"),
        ("failover:(stomp://one:1", "is written"),
        ("failover:(stomp://one:1)x", "is written"),
        ("failover:(stomp://one:1)?colour=red", "no option 'colour'.*maxReconnectDelay"),
        ("failover:(stomp://one:1)?randomize=perhaps", "randomize cannot be 'perhaps'"),
        ("failover:(stomp://one:1)?maxReconnectDelay=soon", "maxReconnectDelay cannot be"),
        ("failover:(stomp://one:1)?maxReconnectDelay=1", "pauses grow"),
    ],
)
def test_what_it_cannot_be(text, why):
    with pytest.raises(ValueError, match=why):
        parse_failover(text)


def test_a_policy_given_to_connect_overrules_the_address():
    mine = Reconnect(attempts=9)
    assert read_addresses("failover:(stomp://one:1)?randomize=false", mine)[1] is mine
    assert read_addresses("failover:(stomp://one:1)?randomize=false", True)[1] == Reconnect()


def test_other_addresses_reconnect_only_when_told():
    assert read_addresses("stomp://one:1", False)[1] is None
    addresses, policy = read_addresses([("one", 1), "stomp://two:2"], True)
    assert [str(address) for address in addresses] == list(URLS)
    assert policy == Reconnect()


def test_no_secret_gets_into_an_error():
    with pytest.raises(ValueError, match="is not a URL") as caught:
        read_addresses("failover:(stomp://ann:secret@one:x)", False)
    assert "secret" not in str(caught.value)
