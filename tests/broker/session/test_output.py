"""Gathering, pouring, shutting."""

from stompy_broker.session.output import BURST, HASTY_POUR, POUR, Outlet


class Sink:
    def __init__(self) -> None:
        self.woken = 0
        self.written: list[bytes] = []
        self.outlet = Outlet(self.wake, self.pour)

    def wake(self) -> None:
        self.woken += 1

    def pour(self) -> None:
        self.written.append(self.outlet.take())


def test_wakes_once_until_emptied() -> None:
    sink = Sink()
    sink.outlet.put(b"a")
    assert sink.outlet.put_message(b"b", b"c")
    assert sink.woken == 1
    assert sink.outlet.take() == b"abc"
    assert sink.outlet.take() == b""
    sink.outlet.put(b"d")
    assert sink.woken == 2


def test_pours_when_much_has_come_together() -> None:
    sink = Sink()
    assert sink.outlet.put_message(b"p", b"x" * POUR)
    assert sink.written == [b"p" + b"x" * POUR]
    assert sink.outlet.size == 0


def test_a_client_that_acknowledges_gets_smaller_pours() -> None:
    sink = Sink()
    sink.outlet.hasten()
    assert sink.outlet.put_message(b"p", b"x" * HASTY_POUR)
    assert len(sink.written) == 1
    sink.outlet.shut()
    sink.outlet.open()
    assert sink.outlet.put_message(b"p", b"x" * HASTY_POUR)
    assert len(sink.written) == 2


def test_a_shut_outlet_takes_the_message_and_refuses_the_next() -> None:
    sink = Sink()
    sink.outlet.shut()
    assert not sink.outlet.put_message(b"p", b"x")
    assert sink.outlet.choked
    assert sink.written == []
    sink.outlet.open()
    assert sink.outlet.put_message(b"p", b"x")


def test_the_pour_itself_may_find_the_socket_full() -> None:
    sink = Sink()

    def pour() -> None:
        sink.pour()
        sink.outlet.shut()

    sink.outlet = Outlet(sink.wake, pour)
    assert not sink.outlet.put_message(b"p", b"x" * POUR)
    assert sink.outlet.choked


def test_a_sealed_outlet_stays_shut_for_messages() -> None:
    sink = Sink()
    sink.outlet.seal()
    sink.outlet.open()
    assert not sink.outlet.put_message(b"p", b"x")
    sink.outlet.put(b"ERROR")
    assert sink.outlet.take() == b"pxERROR"


def test_after_a_burst_consumers_wait_however_much_the_socket_takes() -> None:
    """A client that read as fast as it was written to had a whole queue in one go."""
    sink = Sink()
    while sink.outlet.put_message(b"p", b"x" * 1000):
        pass
    assert BURST <= sum(map(len, sink.written)) < BURST + 2 * POUR
    assert sink.outlet.choked
    sink.outlet.burst, sink.outlet.choked = 0, False  # the turn is over
    assert sink.outlet.put_message(b"p", b"x" * POUR)
