"""The client over a WebSocket, with TLS below it and without."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scripted_server import Peer, ScriptedServer, obedient
from tests.support.secure import WebSocketEnd, client_context, server_context

import stompy
from stompy.protocol.codec import encode_frame
from stompy.transport.websocket import FrameCutter


def url(server: ScriptedServer, path: str = "", scheme: str = "ws") -> str:
    return f"{scheme}://127.0.0.1:{server.address[1]}{path}"


def test_each_frame_is_a_message():
    ends: list[WebSocketEnd] = []

    def script(peer: Peer) -> None:
        ends.append(peer.connection)
        obedient(peer)
        peer.until_closed()

    with ScriptedServer(script, dress=WebSocketEnd.dress) as server:
        with stompy.connect(url(server, "/ws?token=1")) as client:
            for number in range(50):
                client.message("/queue/q", f"no. {number}")
            client.message("/queue/q", b"\xff\0\xfe")
            client.message("/queue/q", "x" * 1_000_000)
            assert client.broker_address == server.address
    (end,) = ends
    assert (end.path, end.subprotocol) == ("/ws?token=1", "v12.stomp")
    kinds = [kind for kind, _ in end.messages]
    assert kinds[0] == "TEXT"
    assert end.messages[0][1].startswith((b"CONNECT\n", b"STOMP\n"))
    assert all(data.startswith(b"SEND\n") for _, data in end.messages[1:52])
    assert kinds[51] == "BINARY"
    assert b"".join(data for _, data in end.messages[52:]).count(b"SEND\n") == 1
    assert kinds[-2:] == ["TEXT", "CLOSE"]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_of_the_peer_may_be_cut_anywhere(size):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SUBSCRIBE")
        frames = b"".join(
            encode_frame(
                "MESSAGE",
                {"subscription": "s1", "message-id": str(n), "destination": "/queue/q"},
                f"no. {n}".encode(),
            )
            for n in range(3)
        )
        end = peer.connection
        for at in range(0, len(frames), size):
            end.protocol.send_ping(b"there?")
            end.sendall(frames[at : at + size])
        for frame in peer.serve():
            assert frame.command == "DISCONNECT"
        assert sum(kind == "PONG" for kind, _ in end.messages) == -(-len(frames) // size)

    with ScriptedServer(script, dress=WebSocketEnd.dress) as server:
        with stompy.connect(url(server)) as client:
            client.subscribe("/queue/q", id="s1")
            assert [client.recv(timeout=5).text for _ in range(3)] == ["no. 0", "no. 1", "no. 2"]


def test_over_tls():
    context = server_context()
    with ScriptedServer(
        obedient,
        dress=lambda raw: WebSocketEnd.dress(context.wrap_socket(raw, server_side=True)),
    ) as server:
        with stompy.connect(url(server, scheme="wss"), tls=client_context()) as client:
            client.message("/queue/q", "x" * 300_000)


def test_the_broker_closes_with_a_reason():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.connection.protocol.send_close(1008, "not you")
        peer.connection.flush()
        peer.until_closed()

    with ScriptedServer(script, dress=WebSocketEnd.dress) as server:
        client = stompy.connect(url(server))
        assert client.recv(timeout=5) is None
        assert "1008 not you" in str(client.close_reason)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 Not Found.*path of the URL"),
        (b"HTTP/1.1 101 Fine\r\n\r\n", "handshake failed"),
        (b"ERROR\nmessage:what?\n\n\0", "handshake failed|closed"),
        (b"", "closed"),
    ],
)
def test_no_websocket_there(answer, words):
    def script(peer: Peer) -> None:
        peer.connection.recv(4096)
        peer.write(answer)

    with ScriptedServer(script) as server:
        with pytest.raises(stompy.STOMPConnectionError, match=rf"\(WebSocket: .*({words})"):
            stompy.connect(url(server))


def test_without_the_extra_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['websockets'] = None; import stompy\n"
        "try: stompy.connect('ws://127.0.0.1:1')\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'stompy-core[ws]'" in done.stdout


FRAMES = st.lists(
    st.one_of(
        st.just(b"\n"),
        st.builds(
            lambda body, named: encode_frame("SEND", {"destination": named, "x": "\n:"}, body),
            st.binary(max_size=40),
            st.sampled_from(["/queue/q", "content-length"]),
        ),
        st.binary(max_size=20).map(
            lambda body: b"SEND\ndestination:q\n\n" + body.replace(b"\0", b"") + b"\0"
        ),
    ),
    max_size=6,
)


@given(FRAMES, st.data())
def test_frames_are_found_however_the_stream_is_cut(frames, data):
    stream = b"".join(frames)
    cutter = FrameCutter()
    found, part = [], b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        for piece, whole, last in cutter.cut(stream[:size]):
            assert not whole or (last and not part)
            part += piece
            if last:
                found.append(part)
                part = b""
        stream = stream[size:]
    assert (found, part) == (frames, b"")
