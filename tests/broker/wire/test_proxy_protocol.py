"""A load balancer tells whom it speaks for."""

from __future__ import annotations

import ipaddress

import pytest
from tests.support.wire import Peer, running_broker

from stompy_broker.wire.proxy_protocol import ProxyHeader, is_proxied, read_proxy_header

CONNECT = b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def second(client: str, port: int = 56324, *, command: int = 0x21, more: bytes = b"") -> bytes:
    address = ipaddress.ip_address(client)
    family = 0x11 if address.version == 4 else 0x21
    addresses = address.packed * 2 + port.to_bytes(2, "big") + (61613).to_bytes(2, "big") + more
    return SIGNATURE + bytes([command, family]) + len(addresses).to_bytes(2, "big") + addresses


HEADERS = {
    "v1": (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 61613\r\n", "192.0.2.1", 56324),
    "v1 of IPv6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 5 61613\r\n", "2001:db8::1", 5),
    "v1, unknown": (b"PROXY UNKNOWN whatever\r\n", "", 0),
    "v2": (second("192.0.2.1"), "192.0.2.1", 56324),
    "v2 of IPv6": (second("2001:db8::1"), "2001:db8::1", 56324),
    "v2 with more": (second("192.0.2.1", more=b"\x03\x00\x04abcd"), "192.0.2.1", 56324),
    "v2, a check of its own": (second("192.0.2.1", command=0x20), "", 0),
    "v2 without addresses": (SIGNATURE + b"\x21\x00\x00\x00", "", 0),
}
WRONG = [
    b"CONNECT\n",
    b"PROXY TCP4 nonsense 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 70000 2\r\n",
    b"PROXY TCP4 192.0.2.1\r\n",
    b"PROXY " + b"x" * 200,
    SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\xff\xff",
    SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
]


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_read_whole_and_byte_by_byte(name: str) -> None:
    header, host, port = HEADERS[name]
    data = header + CONNECT
    assert read_proxy_header(data) == ProxyHeader(host, port, len(header))
    assert is_proxied(data)
    for cut in range(len(header)):
        assert read_proxy_header(data[:cut]) is None


@pytest.mark.parametrize("data", WRONG)
def test_anything_else_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_proxy_header(data)


@pytest.mark.parametrize("name", HEADERS)
def test_the_client_has_the_address_that_the_load_balancer_tells(name: str) -> None:
    header, host, port = HEADERS[name]
    with running_broker(listen={"proxy_protocol": True}) as broker, Peer(broker.port) as peer:
        peer.dribble(header)
        peer.send(CONNECT)
        peer.expect("CONNECTED")
        (held,) = broker.holdings()
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        assert held.address == shown if host else held.address.startswith("127.0.0.1:")


def test_limits_by_address_are_the_clients() -> None:
    with running_broker(
        listen={"proxy_protocol": True}, limits={"connections_per_address": 1}
    ) as broker:
        with Peer(broker.port) as ann, Peer(broker.port) as bob, Peer(broker.port) as ann_again:
            for peer, host in ((ann, "192.0.2.1"), (bob, "192.0.2.2")):
                peer.send(second(host), CONNECT)
                peer.expect("CONNECTED")
            ann_again.send(second("192.0.2.1"), CONNECT)
            ann_again.expect_error("limit-exceeded")


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_header_that_nobody_expects_is_named(name: str) -> None:
    with running_broker() as broker, Peer(broker.port) as peer:
        peer.send(HEADERS[name][0], CONNECT)
        assert b"PROXY" in peer.expect_error("access-refused").body


def test_a_client_without_header_is_told_that_one_is_missing() -> None:
    with running_broker(listen={"proxy_protocol": True}) as broker, Peer(broker.port) as peer:
        peer.send(CONNECT)
        assert b"PROXY" in peer.expect_error("access-refused").body
