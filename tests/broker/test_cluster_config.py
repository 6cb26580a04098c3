"""``[cluster]``: a clear word about every mistake, and no secret in any of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stompy_broker.cluster_config import ServerPlace, read_address, written_address
from stompy_broker.config import BrokerConfig, ConfigError, load_config

OWN = {"name": "shop", "secret_file": "secret"}
EMBEDDED = {
    **OWN,
    "embedded": True,
    "peers": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    "advertise": "10.0.0.2:61613",
}
EXTERNAL = {**OWN, "nats": ["nats://ann:tiger@10.0.0.1"], "nats_system": "sys:lion"}


def load(cluster: Mapping[str, object], **sections: Mapping[str, object]) -> BrokerConfig:
    return load_config(overrides={"cluster": cluster, **sections})


def complaint(cluster: Mapping[str, object], **sections: Mapping[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(cluster, **sections)
    return str(caught.value)


def test_a_broker_is_alone_unless_told() -> None:
    assert not load_config().cluster
    assert load(EMBEDDED).cluster
    assert load(EXTERNAL).cluster


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": ""}, ["name is missing", "advertise"]),
        ({"name": "my shop"}, ["cluster.name", "letters"]),
        ({"name": "x" * 33}, ["33 characters", "32"]),
        ({"id": "a.b"}, ["cluster.id", "'a.b'"]),
        ({"secret_file": ""}, ["secret_file is missing", "stompy-broker cluster secret"]),
        ({"advertise": "0.0.0.0:61613"}, ["cluster.advertise", "0.0.0.0"]),
        ({"advertise": "10.0.0.2:0"}, ["cluster.advertise", "could connect"]),
        ({"advertise": "stomp://10.0.0.2"}, ["cluster.advertise", "HOST:PORT"]),
        ({"advertise": "10.0.0.9"}, ["cluster.peer", "none of peers", "10.0.0.9"]),
        ({"peers": []}, ["peers names 0", "three or five"]),
        ({"peers": ["a", "b"]}, ["peers names 2", "three or five"]),
        ({"peers": ["a", "a:4222", "b"]}, ["twice"]),
        ({"peers": ["a:64000", "b", "c"]}, ["'a:64000'", "2000"]),
        ({"peers": ["0.0.0.0", "b", "c"]}, ["'0.0.0.0'"]),
        ({"peer": "10.0.0.9"}, ["'10.0.0.9'", "none of peers"]),
        ({"replicas": 5}, ["replicas = 5", "peers has 3"]),
        ({"replicas": 2}, ["cluster.replicas", "1, 3 or 5"]),
        ({"nats": ["nats://a"]}, ["exclude each other"]),
        ({"trust_sync": True}, ["trust_sync", "not for embedded"]),
        ({"groups": 30, "group": [{"match": f"/queue/{n}"} for n in range(3)]}, ["30", "32"]),
        ({"groups": 0}, ["cluster.groups", "1 or more"]),
        ({"group": [{"match": "/queue/a.>.b"}]}, ["cluster.group.0.match"]),
        ({"group": [{"match": "/topic/a"}]}, ["cluster.group.0.match", "/queue/"]),
        ({"silence": 0.2}, ["cluster.silence", "1.0 or more"]),
    ],
)
def test_mistakes_name_key_and_reason(more: dict[str, object], words: list[str]) -> None:
    text = complaint({**EMBEDDED, **more})
    assert [word for word in ["command line: cluster", *words] if word not in text] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"nats": []}, ["has no servers"]),
        ({"nats": ["http://ann:tiger@a"]}, ["cluster.nats", "number 1"]),
        ({"nats": ["nats://ann:tiger@a:99999"]}, ["cluster.nats", "number 1"]),
        ({"nats": "nats://ann:tiger@a"}, ["cluster.nats", "must be a list"]),
        ({"nats_system": "lion"}, ["cluster.nats_system", "USER:PASSWORD"]),
        ({"nats_system": ["lion"]}, ["cluster.nats_system", "must be text"]),
        ({"nats_system": ""}, ["trust_sync = true"]),
        ({"peers": ["a"]}, ["peers is for embedded"]),
        ({"nats_server": "/usr/bin/x"}, ["nats_server is for embedded"]),
    ],
)
def test_mistakes_about_own_servers_tell_no_password(
    more: dict[str, object], words: list[str]
) -> None:
    text = complaint({**EXTERNAL, **more})
    assert [word for word in words if word not in text] == []
    assert "tiger" not in text
    assert "lion" not in text


def test_no_password_is_shown() -> None:
    shown = repr(load(EXTERNAL))
    assert "tiger" not in shown
    assert "lion" not in shown


def test_memory_only_is_refused() -> None:
    assert "--memory" in complaint(EMBEDDED, store={"data": ""})
    assert load_config(overrides={"store": {"data": ""}}).store.data == ""


def test_an_address_for_everybody_has_to_be_told() -> None:
    anywhere = {"host": "0.0.0.0"}
    security = {"allow_anonymous": True}
    text = complaint({**EXTERNAL, "advertise": ""}, listen=anywhere, security=security)
    assert "cluster.advertise is missing" in text
    told = load(EMBEDDED, listen=anywhere, security=security).cluster
    assert told.address("0.0.0.0", 61613) == "10.0.0.2:61613"
    assert told.own_place("0.0.0.0") == ServerPlace("10.0.0.2")


def test_what_is_advertised_is_where_it_listens_unless_told() -> None:
    cluster = load({**EXTERNAL, "advertise": ""}).cluster
    assert cluster.address("10.0.0.1", 7) == "10.0.0.1:7"
    assert load({**EXTERNAL, "advertise": "a"}).cluster.address("10.0.0.1", 7) == "a:7"


def test_servers_of_one_machine_are_told_apart_by_name() -> None:
    peers = ["127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003"]
    cluster = {**OWN, "embedded": True, "peers": peers}
    assert "several of peers" in complaint(cluster)
    own = load({**cluster, "peer": "127.0.0.1:5002"}).cluster.own_place("127.0.0.1")
    assert own == ServerPlace("127.0.0.1", 5002, 7002)
    assert str(own) == peers[1]


@pytest.mark.parametrize(
    ("text", "address"),
    [("a", ("a", 1)), ("a:2", ("a", 2)), ("[::1]:2", ("::1", 2)), ("[::1]", ("::1", 1))],
)
def test_addresses_are_read_as_they_are_written(text: str, address: tuple[str, int]) -> None:
    assert read_address(text, 1) == address
    assert read_address(written_address(*address), 9) == address


@pytest.mark.parametrize("text", ["", ":2", "a:b", "a/b", "u@a", "a:99999", "a?b", "::1:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        read_address(text, 1)
