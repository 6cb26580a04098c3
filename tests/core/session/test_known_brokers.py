"""Which brokers a client knows, and in which order it tries them."""

import pytest

from stompy.session.address import parse_addresses
from stompy.session.known_brokers import MOST_LEARNED, KnownBrokers

ONE, TWO = parse_addresses(["stomp://ann:secret@one:1/shop", "stomp://two:2"])


class Falling:
    """Numbers that become smaller, so that what is drawn from them is turned round."""

    def __init__(self):
        self.last = 1.0

    def __call__(self):
        self.last /= 2
        return self.last


def brokers(*given, learns=True):
    return KnownBrokers(given or (ONE, TWO), Falling(), learns=learns)


def places(addresses):
    return [f"{address.host}:{address.port}" for address in addresses]


def test_without_a_word_there_is_what_was_given():
    known = brokers()
    assert known.round(shuffle=False) == [ONE, TWO]
    assert not known.learn(None, ONE)
    assert not known.learn("", ONE)
    assert known.learned == ()


def test_what_is_learned_comes_behind_in_any_order():
    known = brokers()
    assert known.learn("stomp://three:3,stomp://four:4", ONE)
    assert places(known.learned) == ["three:3", "four:4"]
    assert places(known.round(shuffle=False)) == ["one:1", "two:2", "four:4", "three:3"]


def test_the_given_ones_stay_in_front_when_they_are_shuffled():
    known = brokers()
    known.learn("stomp://three:3", ONE)
    assert places(known.round(shuffle=True)) == ["two:2", "one:1", "three:3"]


def test_what_is_known_is_not_learned():
    known = brokers()
    known.learn("stomp://TWO:2, stomp://three:3 ,stomp://three:3", ONE)
    assert places(known.learned) == ["three:3"]


def test_login_and_virtual_host_are_those_of_where_it_was_learned():
    known = brokers()
    known.learn("stomp://eve:hers@three:3/other", ONE)
    (three,) = known.learned
    assert (three.login, three.passcode, three.vhost) == ("ann", "secret", "shop")
    known.learn("stomp://four:4", three)
    assert known.learned[0].passcode == "secret"


def test_of_a_websocket_path_and_query_are_kept():
    (source,) = parse_addresses("wss://one/stomp?token=t")
    known = brokers(source)
    known.learn("wss://two:443,wss://three:443/other", source)
    assert [(one.path, one.query) for one in known.learned] == [
        ("/stomp", "token=t"),
        ("/other", "token=t"),
    ]


@pytest.mark.parametrize("scheme", ["stomp", "stomps", "ws", "wss"])
def test_only_what_is_spoken_already_is_spoken(scheme):
    (source,) = parse_addresses(f"{scheme}://one:1")
    known = brokers(source)
    known.learn(",".join(f"{other}://two:2" for other in ("stomp", "stomps", "ws", "wss")), source)
    assert [str(one) for one in known.learned] == [f"{scheme}://two:2"]


@pytest.mark.parametrize("told", ["nonsense", "stomp://", "http://three:3", ",,", "stomp://x:0"])
def test_what_is_no_address_is_passed_over(told):
    known = brokers()
    assert known.learn(f"{told},stomp://three:3", ONE)
    assert places(known.learned) == ["three:3"]
    assert not known.learn(told, ONE)


def test_what_was_not_unescaped_yet_is_understood():
    known = brokers()
    assert known.learn(r"stomp\c//three\c3", ONE)
    assert places(known.learned) == ["three:3"]


def test_the_newest_word_counts():
    known = brokers()
    known.learn("stomp://three:3,stomp://four:4", ONE)
    known.learn("stomp://five:5", TWO)
    assert places(known.learned) == ["five:5"]
    known.learn(None, ONE)
    assert places(known.learned) == ["five:5"]


def test_a_learned_broker_does_not_make_us_forget_where_it_is():
    known = brokers()
    known.learn("stomp://three:3,stomp://four:4", ONE)
    three = known.learned[0]
    known.learn("stomp://one:1,stomp://four:4", three)
    assert places(known.learned) == ["four:4", "three:3"]
    assert all(one.learned for one in known.learned)


def test_there_is_a_bound():
    known = brokers()
    assert known.learn(",".join(f"stomp://more:{port}" for port in range(1, 10_000)), ONE)
    assert len(known.learned) == MOST_LEARNED


def test_who_sent_us_away_comes_last_once():
    known = brokers()
    assert known.learn("stomp://three:3", ONE)
    known.leaving = ONE
    assert places(known.round(shuffle=False)) == ["two:2", "three:3", "one:1"]
    assert places(known.round(shuffle=False)) == ["one:1", "two:2", "three:3"]


def test_a_broker_that_names_only_itself_names_nobody():
    known = brokers()
    assert not known.learn("stomp://one:1", ONE)
    assert known.learned == ()


def test_nothing_is_learned_by_who_does_not_want_to():
    known = brokers(learns=False)
    assert not known.learn("stomp://three:3", ONE)
    assert places(known.round(shuffle=False)) == ["one:1", "two:2"]
