"""Settings of what is shown by HTTP, and where it is shown to whom."""

from __future__ import annotations

import pytest
from tests.support.wire import cheap_hash

from stompy_broker.config import BrokerConfig, ConfigError, load_config
from stompy_broker.http_config import is_loopback, place_of
from stompy_broker.wire.endpoints import endpoints_of, page_endpoint

USERS = {"ann": cheap_hash("secret")}


def config(**sections: object) -> BrokerConfig:
    return load_config(overrides=sections)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9613", ("127.0.0.1", 9613)),
        (":0", ("", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_a_place_is_read(text: str, place: tuple[str, int]) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize("text", ["9613", "host", "a:", "a:x", "a:65536", "::1:80", "a:-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.listen: must be HOST:PORT"):
        config(http={"listen": text})


@pytest.mark.parametrize(
    ("match", "why"), [("/topic/a", "metrics are of /queue"), ("/queue/a.>.b", ">")]
)
def test_metrics_are_of_queues(match: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config(http={"metrics_match": [match]})


def test_pages_for_others_than_this_machine_need_users_or_the_word_none() -> None:
    with pytest.raises(ConfigError, match="users"):
        config(http={"listen": "0.0.0.0:9613"})
    assert page_endpoint(config(http={"listen": "0.0.0.0:9613"}, users=USERS)) is not None
    open_door = page_endpoint(config(http={"listen": "0.0.0.0:9613", "auth": "none"}))
    assert open_door is not None
    assert open_door.trusted


@pytest.mark.parametrize(
    ("auth", "host", "proxied", "trusted"),
    [
        ("auto", "127.0.0.1", False, True),
        ("auto", "127.0.0.1", True, False),
        ("auto", "0.0.0.0", False, False),
        ("basic", "127.0.0.1", False, False),
        ("none", "0.0.0.0", True, True),
    ],
)
def test_who_is_trusted(auth: str, host: str, proxied: bool, trusted: bool) -> None:
    listen = {"host": host, "proxy_protocol": proxied}
    (endpoint,) = endpoints_of(config(http={"auth": auth}, listen=listen, users=USERS))
    assert endpoint.trusted is trusted
    assert endpoint.pages == {"http"}


def test_the_ports_of_clients_can_be_without_pages() -> None:
    settings = config(http={"shared": False, "listen": "[::1]:0"})
    assert [endpoint.pages for endpoint in endpoints_of(settings)] == [set()]
    own = page_endpoint(settings)
    assert own is not None
    assert (own.page_urls(99), own.urls(99), own.takes_tls) == (["http://[::1]:99"], [], False)
    assert page_endpoint(config()) is None


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "example.com")))
