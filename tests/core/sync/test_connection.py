"""The I/O thread, the outbox and the heart-beats, on real sockets."""

import logging
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from time import monotonic

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually, obedient

import stompy
from stompy.errors import STOMPConnectionError, STOMPTimeout
from stompy.sync import connection as link_module
from stompy.sync.connection import OUTBOX_MARK, Connection


def connect(server: ScriptedServer, **options) -> stompy.STOMPClient:
    return stompy.connect(server.address, **options)


def stuck(release: threading.Event):
    """A script that reads nothing until it is released, and what it heard then."""
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        assert release.wait(15)
        heard.extend(peer.serve())

    return script, heard


# -- heart-beats ---------------------------------------------------------------------------------


def test_a_broker_that_falls_silent_is_noticed():
    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="0,50")
        peer.until_closed()

    with ScriptedServer(script) as server:
        # Half a second is promised, and the grace is a second more at least.
        client = connect(server, heart_beat=(0, 50), heart_beat_grace=1.0)
        assert client._connection.protocol.heart_beat.receive == 0
        client.close()

    def black_hole(peer: Peer) -> None:
        peer.welcome(heart_beat="50,0")
        peer.until_closed()

    with ScriptedServer(black_hole) as server:
        started = monotonic()
        client = connect(server, heart_beat=(0, 50))
        assert client.recv() is None
        assert 1.0 < monotonic() - started < 5.0
        assert isinstance(client.close_reason, STOMPConnectionError)
        assert "nothing received for" in str(client.close_reason)
        with pytest.raises(STOMPConnectionError, match="nothing received for"):
            client.message("/queue/q")


def test_a_program_that_stood_still_says_so_and_gives_up_nobody(caplog):
    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="10000,10000")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server, heart_beat=(10_000, 10_000)) as client:
        link = client._connection
        beat = link.protocol.heart_beat
        beat._last_received -= 1000
        beat._last_sent -= 1000
        link.wake()
        eventually(lambda: not beat.peer_is_dead(monotonic()))
        eventually(lambda: "the program stood still for 992." in caplog.text)
        assert client.is_connected


def test_beats_go_out_while_the_application_is_busy_or_silent():
    beats = []

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="0,40")
        while len(beats) < 5:
            data = peer.connection.recv(100)
            assert set(data) == {10}
            beats.append(monotonic())
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server, heart_beat=(40, 0)) as client:
        eventually(lambda: len(beats) == 5)
        assert client.is_connected
    assert beats[-1] - beats[0] > 0.06


def test_beats_of_the_broker_keep_a_silent_connection_alive():
    stop = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="100,0")
        while not stop.wait(0.1):
            peer.write("\n")
        peer.message(1)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server, heart_beat=(0, 100)) as client:
        with pytest.raises(STOMPTimeout):
            client.recv(timeout=1.5)  # longer than a silent broker would be borne
        stop.set()
        assert client.recv(10)["message-id"] == "m1"


def test_a_broker_that_we_do_not_read_from_is_not_taken_for_dead():
    full, survived = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="50,50")
        for number in range(6000):
            peer.message(number)
        assert full.wait(10)
        # Our own beats go on meanwhile, and that is how long it takes.
        started = monotonic()
        while monotonic() - started < 1.5:
            assert peer.connection.recv(100)
        survived.set()
        peer.message(6000)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server, heart_beat=(50, 50)) as client:
        eventually(lambda: client._connection.inbox.full)
        full.set()
        eventually(lambda: client._connection.protocol.heart_beat.suspended)
        assert survived.wait(10)
        assert client.is_connected
        numbers = [client.recv(10)["message-id"] for _ in range(6001)]
        assert numbers[-1] == "m6000"


# -- the outbox ----------------------------------------------------------------------------------


def test_a_sender_waits_for_room_and_gives_up_without_harm():
    release = threading.Event()
    script, heard = stuck(release)
    body = b"x" * 100_000
    sent = 0
    with ScriptedServer(script) as server:
        client = connect(server, send_timeout=0.1)

        def send_on() -> None:
            nonlocal sent
            while True:
                client.message("/queue/q", body)
                sent += 1

        with pytest.raises(STOMPTimeout, match=r"no room .* within 0\.1 s"):
            send_on()
        assert OUTBOX_MARK <= len(client._connection._outbox) < OUTBOX_MARK + 2 * len(body)
        with pytest.raises(STOMPTimeout):
            client.message("/queue/q", body)
        release.set()
        client.wait_for_receipt(client.message("/queue/q", b"last", receipt=True))
        client.disconnect()
    assert [len(frame.body) for frame in heard] == [len(body)] * sent + [4, 0]


def test_a_waiting_sender_goes_on_when_there_is_room():
    release = threading.Event()
    script, heard = stuck(release)
    body = b"x" * 1_000_000
    with ScriptedServer(script) as server, connect(server) as client:
        sender = threading.Thread(
            target=lambda: [client.message("/queue/q", body) for _ in range(30)]
        )
        sender.start()
        eventually(lambda: len(client._connection._outbox) >= OUTBOX_MARK)
        assert sender.is_alive()
        release.set()
        sender.join(10)
        assert not sender.is_alive()
    assert [len(frame.body) for frame in heard[:-1]] == [len(body)] * 30


def test_receiving_goes_on_while_a_sender_waits():
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SUBSCRIBE")
        assert release.wait(10)
        for number in range(10):
            peer.message(number)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q")
        sender = threading.Thread(
            target=lambda: [client.message("/queue/q", b"x" * 1_000_000) for _ in range(30)]
        )
        sender.start()
        eventually(lambda: client._connection._blocked)
        release.set()
        assert [client.recv(10)["message-id"] for _ in range(10)] == [f"m{n}" for n in range(10)]
        sender.join(10)


def test_a_waiting_sender_learns_that_the_connection_is_gone():
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        assert release.wait(10)
        peer.reset()

    failures = []

    def send(client: stompy.STOMPClient) -> None:
        try:
            while True:
                client.message("/queue/q", b"x" * 1_000_000)
        except STOMPConnectionError as error:
            failures.append(str(error))

    with ScriptedServer(script) as server:
        client = connect(server)
        sender = threading.Thread(target=send, args=(client,))
        sender.start()
        eventually(lambda: len(client._connection._outbox) >= OUTBOX_MARK)
        release.set()
        sender.join(10)
        assert re.search("(?i)reset|broken pipe", failures[0])


def test_no_beat_lands_inside_a_frame():
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="0,20")
        assert release.wait(10)
        for frame in peer.serve():
            assert frame.body.count(b"x") == len(frame.body)

    with ScriptedServer(script) as server, connect(server, heart_beat=(20, 0)) as client:
        for _ in range(6):
            client.message("/queue/q", b"x" * 1_000_000)
        threading.Event().wait(0.1)  # several beats fall due while a frame is half written
        release.set()


def test_frames_in_quick_succession_are_gathered_and_all_leave():
    bodies = []

    def script(peer: Peer) -> None:
        peer.welcome()
        bodies.extend(frame.body for frame in peer.serve())

    writes = []
    original = link_module.Connection._write_some

    class Counting(link_module.Connection):
        def _write_some(self, outbox: bytearray) -> int:
            writes.append(len(outbox))
            return original(self, outbox)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stompy.sync.session.Connection", Counting)
        with ScriptedServer(script) as server, connect(server) as client:
            client._connection.protocol.send("SEND", {})
            patch.setattr(link_module, "QUICK", 10.0)
            for number in range(5000):
                client.message("/queue/q", str(number))
            eventually(lambda: len(bodies) == 5000)
    assert bodies[:-1] == [b"%d" % number for number in range(5000)]
    assert len(writes) < 1000


def test_what_was_gathered_is_written_before_its_sender_waits_for_anything():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        for frame in peer.serve():
            heard.append(frame.body)
            if frame.body == b"99":
                peer.message(1)

    with pytest.MonkeyPatch.context() as patch, ScriptedServer(script) as server:
        patch.setattr(link_module, "QUICK", 10.0)
        with connect(server) as client:
            link = client._connection
            # The I/O thread leaves it to others.
            patch.setattr(link_module, "sleep", lambda _: eventually(lambda: not link._gathers))
            for number in range(100):
                client.message("/queue/q", str(number))
            assert link._gathers
            assert link.unsent
            client.recv(5)  # the answer to the last of them
            assert not link._gathers
        assert heard[:100] == [b"%d" % number for number in range(100)]


def test_one_pause_ends_no_burst():
    def script(peer: Peer) -> None:
        peer.welcome()
        for _ in peer.serve():
            pass

    with pytest.MonkeyPatch.context() as patch, ScriptedServer(script) as server:
        with connect(server) as client:
            link = client._connection
            patch.setattr(link_module, "QUICK", 10.0)
            for _ in range(100):
                client.message("/queue/q")
            patch.setattr(link_module, "QUICK", 0.0)
            streaks = []
            for _ in range(3):
                client.message("/queue/q")
                streaks.append(link._streak)
            assert streaks[0] == link_module.GATHER_AFTER
            assert streaks[2] < streaks[0]


def test_a_write_that_was_interrupted_ends_the_connection():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        link = client._connection
        real = link._write_some

        def interrupted(outbox: bytearray) -> int:
            real(outbox)
            raise KeyboardInterrupt

        link._write_some = interrupted
        with pytest.raises(KeyboardInterrupt):
            client.message("/queue/q", b"half of this may have left")
        link._write_some = real
        with pytest.raises(STOMPConnectionError, match="a write was interrupted"):
            client.message("/queue/q")


def test_a_broker_that_only_stops_listening_is_given_up():
    """The write side fails, but the broker neither says anything nor closes its end."""

    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        assert over.wait(10)

    with ScriptedServer(script) as server:
        client = connect(server)
        client._connection._socket.shutdown(socket.SHUT_WR)
        with pytest.raises(STOMPConnectionError, match=r"(?i)broken pipe"):
            client.message("/queue/q")
        assert client.recv() is None
        over.set()


# -- the thread ----------------------------------------------------------------------------------


def test_a_fault_of_ours_ends_the_connection_and_is_logged(caplog):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        peer.message(1)
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)

        def broken(data: bytes, now: float) -> list[stompy.STOMPFrame]:
            raise ZeroDivisionError

        client._connection.protocol.receive_data = broken
        with caplog.at_level(logging.ERROR, "stompy"):
            client.message("/queue/q")
            assert client.recv() is None
        assert "ZeroDivisionError" in str(client.close_reason)
        assert "fault in the I/O thread" in caplog.text


def test_only_changes_of_state_are_logged(caplog):
    with caplog.at_level(logging.DEBUG, "stompy"):
        with ScriptedServer(obedient) as server, connect(server, passcode="s3cret") as client:
            client.wait_for_receipt(client.message("/queue/q", b"s3cret", receipt=True))
        with ScriptedServer(lambda peer: peer.welcome()) as other:
            assert connect(other).recv() is None
    ours = [record for record in caplog.records if record.name == "stompy"]
    assert [(record.levelname, record.getMessage()) for record in ours] == [
        ("INFO", f"connected to {server.url}"),
        ("INFO", f"connection to {server.url} closed"),
        ("INFO", f"connected to {other.url}"),
        ("WARNING", f"connection to {other.url} lost: the broker closed the connection"),
    ]


def test_the_thread_is_a_daemon_with_a_telling_name():
    with ScriptedServer(obedient) as server, connect(server):
        (thread,) = (t for t in threading.enumerate() if t.name == f"stompy {server.url}")
        assert thread.daemon


def test_its_end_can_be_waited_for_before_its_beginning(monkeypatch):
    """Another thread may use a connection, or end the client, before it has begun to serve."""
    start = Connection.start

    def wait_and_start(connection: Connection) -> None:
        connection.join(0.0)
        start(connection)

    monkeypatch.setattr(Connection, "start", wait_and_start)
    with ScriptedServer(obedient) as server:
        client = connect(server)
        client.disconnect()
    assert not client.is_connected


# -- large things and slow peers -------------------------------------------------------------------


def test_a_large_body_with_nuls_both_ways():
    body = bytes(range(256)) * 20_000  # 5 MB

    def script(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SEND")
        assert frame.body == body
        peer.write(
            b"MESSAGE\nsubscription:s1\nmessage-id:m1\ndestination:/queue/q\n"
            b"content-length:%d\n\n%b\0" % (len(body), body)
        )
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        client.message("/queue/q", body)
        assert client.recv(10).Body == body


def test_a_slow_application_does_not_lose_messages_nor_the_connection():
    total = 30_000

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="0,0")
        block = b"".join(
            b"MESSAGE\nsubscription:s1\nmessage-id:m%d\ndestination:/queue/q\n\n%b\0"
            % (number, b"x" * 1000)
            for number in range(total)
        )
        peer.connection.settimeout(30)
        peer.write(block)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        inbox = client._connection.inbox
        eventually(lambda: inbox.full, "back-pressure")
        assert len(inbox) < 10_000
        for number in range(total):
            assert client.recv(10)["message-id"] == f"m{number}"


def test_a_receipt_is_found_behind_more_messages_than_are_read_otherwise():
    def script(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SEND")
        peer.write(
            b"".join(
                b"MESSAGE\nsubscription:s1\nmessage-id:m%d\ndestination:/queue/q\n\n\0" % number
                for number in range(15_000)
            )
        )
        peer.receipt(frame)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        client.wait_for_receipt(client.message("/queue/q", receipt=True))
        for number in range(15_000):
            assert client.recv(10)["message-id"] == f"m{number}"


# -- processes -------------------------------------------------------------------------------------


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FORKING = """
import os, sys, stompy
client = stompy.connect(("127.0.0.1", int(sys.argv[1])), reconnect=sys.argv[2] == "True")
client.message("/queue/q", b"parent")
handle = client.subscription("/queue/q")
pid = os.fork()
if pid == 0:
    seen = []
    for call in (client.recv, client.loop, lambda: client.message("/queue/q", b"child"),
                 lambda: client.wait_for_receipt("r"), lambda: list(client),
                 lambda: client.post("/queue/q").result(), client.wait_connected, handle.get,
                 lambda: list(handle), lambda: client.request("/queue/q"),
                 lambda: client.subscription("/queue/q")):
        try:
            call()
        except stompy.STOMPConnectionError as error:
            seen.append("not to its fork" in str(error))
    handle.unsubscribe()
    client.disconnect()
    client.close()
    os._exit(0 if seen == [True] * 11 and not client.is_connected else 1)
_, status = os.waitpid(pid, 0)
client.message("/queue/q", b"parent again")
client.disconnect()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="needs fork")
@pytest.mark.parametrize("reconnect", ["False", "True"])
def test_a_fork_learns_that_the_connection_is_not_its_own(reconnect):
    bodies = []

    def script(peer: Peer) -> None:
        peer.welcome()
        bodies.extend(frame.body for frame in peer.serve() if frame.command != "SUBSCRIBE")

    with ScriptedServer(script) as server:
        result = run(FORKING, server.address[1], reconnect)
        assert (result.returncode, result.stderr) == (0, "")
    assert bodies == [b"parent", b"parent again", b""]


LEAVING = """
import sys, stompy
client = stompy.connect(("127.0.0.1", int(sys.argv[1])))
for number in range(5000):
    client.message("/queue/q", str(number))
"""


def test_a_program_that_ends_without_disconnect_has_sent_what_it_sent():
    bodies = []

    def script(peer: Peer) -> None:
        peer.welcome()
        with suppress(EOFError):
            while True:
                bodies.append(peer.read().body)

    with ScriptedServer(script) as server:
        result = run(LEAVING, server.address[1])
        assert (result.returncode, result.stderr) == (0, "")
    assert bodies == [b"%d" % number for number in range(5000)]


def test_a_program_ends_even_if_the_broker_takes_nothing_and_says_so():
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        assert ended.wait(15)

    program = (
        "import stompy.sync.connection; stompy.sync.connection.EXIT_FLUSH = 0.1"
        + LEAVING.replace("str(number)", "b'x' * 1000")
    )
    with ScriptedServer(script) as server:
        result = run(program, server.address[1])
        ended.set()
    assert result.returncode == 0
    assert re.fullmatch(
        rf"stompy: the program ends, and \d+ bytes that were to be sent to {server.url} are lost: "
        r"the broker did not take them\n",
        result.stderr,
    )
