"""Gathering, writing, pausing."""

from stompy_broker.session.output import BURST, SMALL_WRITE_SIZE, WRITE_SIZE, OutputBuffer


class Sink:
    def __init__(self) -> None:
        self.woken = 0
        self.written: list[bytes | memoryview] = []
        self.output = OutputBuffer(self.wake, self.write)

    def wake(self) -> None:
        self.woken += 1

    def write(self) -> None:
        self.written.append(self.output.take())


def test_wakes_once_until_emptied() -> None:
    sink = Sink()
    sink.output.put(b"a")
    assert sink.output.put_message(b"b", b"c")
    assert sink.woken == 1
    assert sink.output.take() == b"abc"
    assert sink.output.take() == b""
    sink.output.put(b"d")
    assert sink.woken == 2


def test_writes_when_much_has_come_together() -> None:
    sink = Sink()
    assert sink.output.put_message(b"p", b"x" * WRITE_SIZE)
    assert sink.written == [b"p" + b"x" * WRITE_SIZE]
    assert sink.output.size == 0


def test_a_client_that_acknowledges_gets_smaller_writes() -> None:
    sink = Sink()
    sink.output.use_small_writes()
    assert sink.output.put_message(b"p", b"x" * SMALL_WRITE_SIZE)
    assert len(sink.written) == 1
    sink.output.pause()
    sink.output.resume()
    assert sink.output.put_message(b"p", b"x" * SMALL_WRITE_SIZE)
    assert len(sink.written) == 2


def test_a_paused_buffer_takes_the_message_and_refuses_the_next() -> None:
    sink = Sink()
    sink.output.pause()
    assert not sink.output.put_message(b"p", b"x")
    assert sink.output.was_full
    assert sink.written == []
    sink.output.resume()
    assert sink.output.put_message(b"p", b"x")


def test_the_write_itself_may_find_the_socket_full() -> None:
    sink = Sink()

    def write() -> None:
        sink.write()
        sink.output.pause()

    sink.output = OutputBuffer(sink.wake, write)
    assert not sink.output.put_message(b"p", b"x" * WRITE_SIZE)
    assert sink.output.was_full


def test_a_stopped_buffer_stays_paused_for_messages() -> None:
    sink = Sink()
    sink.output.stop()
    sink.output.resume()
    assert not sink.output.put_message(b"p", b"x")
    sink.output.put(b"ERROR")
    assert sink.output.take() == b"pxERROR"


def test_after_a_burst_consumers_wait_however_much_the_socket_takes() -> None:
    """A client that read as fast as it was written to had a whole queue in one go."""
    sink = Sink()
    while sink.output.put_message(b"p", b"x" * 1000):
        pass
    assert BURST <= sum(map(len, sink.written)) < BURST + 2 * WRITE_SIZE
    assert sink.output.was_full
    sink.output.burst, sink.output.was_full = 0, False  # the turn is over
    assert sink.output.put_message(b"p", b"x" * WRITE_SIZE)


def test_a_large_body_is_written_from_where_it_lies() -> None:
    """It was copied behind its headers, and again to be written with other frames."""
    sink = Sink()
    body = b"x" * (4 * WRITE_SIZE + 5)
    sink.output.put(b"first")
    sink.output.put_large_message(b"p", b"front\n\n", body)
    sink.output.put(b"last")
    pieces = list(sink.written)
    while sink.output.size:
        pieces.append(sink.output.take())
    assert b"".join(pieces) == b"firstpfront\n\n" + body + b"\0\nlast"
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert all(view.obj is body for view in views)
    assert sum(map(len, views)) == len(body)
    assert len(pieces) == 7  # what is before, five views, what is behind
    assert sink.output.written == sum(map(len, pieces))


def test_a_body_that_is_shared_is_not_copied_either() -> None:
    sink = Sink()
    tail = b"x" * (3 * WRITE_SIZE)
    sink.output.pause()
    sink.output.put_message(b"p", tail)
    sink.output.put_message(b"q", tail)
    taken = []
    while sink.output.size:
        taken.append(sink.output.take())
    assert b"".join(taken) == b"p" + tail + b"q" + tail
    assert sum(len(piece) for piece in taken if isinstance(piece, memoryview)) == 2 * len(tail)
