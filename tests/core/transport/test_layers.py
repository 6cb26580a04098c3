"""Layers upon each other."""

from __future__ import annotations

import pytest

from stompy.transport.layers import LayerError, Layers


class Brackets:
    """A layer that puts each thing in brackets of its own, after one greeting each way."""

    ended = False
    end_reason = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = False
        self.closed = False
        self._own = f"hello {name};".encode()

    def receive(self, data: bytes) -> bytes:
        if not self.ready:
            self.ready = True
            return b""
        return data.removeprefix(f"{self.name}(".encode()).removesuffix(b")")

    def send(self, data: bytes) -> bytes:
        if self.closed:
            raise LayerError(self.name, "closed")
        return f"{self.name}({data.decode()})".encode()

    def take(self) -> bytes:
        own, self._own = self._own, b""
        return own

    def close(self) -> None:
        self.closed = True
        self._own = f"bye {self.name};".encode()


@pytest.fixture
def layers() -> Layers:
    return Layers([Brackets("a"), Brackets("b")])


def test_a_layer_is_silent_until_the_one_below_is_ready(layers: Layers) -> None:
    assert layers.next == "a"
    assert layers.take() == b"hello a;"
    assert layers.receive(b"hello") == b""
    assert (layers.ready, layers.next) == (False, "b")
    assert layers.take() == b"a(hello b;)"
    assert layers.receive(b"hello") == b""
    assert (layers.ready, layers.next) == (True, "")
    assert layers.take() == b""


def test_bytes_go_through_all_of_them(layers: Layers) -> None:
    for _ in range(2):
        layers.take()
        layers.receive(b"hello")
    assert layers.send(b"x") == b"a(b(x))"
    assert layers.receive(b"a(b(y))") == b"y"


def test_the_upper_layer_says_goodbye_through_the_lower_one(layers: Layers) -> None:
    for _ in range(2):
        layers.take()
        layers.receive(b"hello")
    layers.close()
    assert layers.take() == b"a(bye b;)bye a;"
    assert layers.take() == b""


def test_what_has_not_begun_says_no_goodbye(layers: Layers) -> None:
    layers.take()
    layers.receive(b"hello")
    layers.close()
    assert layers.take() == b"bye a;"
