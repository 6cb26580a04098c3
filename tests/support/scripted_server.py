"""A server on a real socket that does what a script says, also what no broker should.

A script is a function that gets a `Peer`, the server's end of one connection, and runs in a
thread of its own. What goes wrong in it is raised when the ``with`` block ends.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from types import TracebackType

import stompy

PATIENCE = 10.0
"""Seconds after which something that should have happened counts as not happening."""


class ClientLeftError(Exception):
    """The client had closed its connection before all was written that a script had for it."""


class Heard:
    """A frame that the server received; read without any code of the package."""

    def __init__(self, raw: bytes, body: bytes) -> None:
        command, *lines = raw.decode().split("\n")
        self.command = command
        self.headers = dict(line.split(":", 1) for line in lines)
        self.body = body

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.connection = connection
        self._buffer = b""

    def read(self) -> Heard:
        """The next frame of the client; heart-beats before it are passed over."""
        while True:
            self._buffer = self._buffer.lstrip(b"\n")
            raw, blank, rest = self._buffer.partition(b"\n\n")
            if blank:
                frame = self._with_body(raw, rest)
                if frame is not None:
                    return frame
            self._receive()

    def _with_body(self, raw: bytes, rest: bytes) -> Heard | None:
        marked = [line for line in raw.split(b"\n") if line.startswith(b"content-length:")]
        length = int(marked[0].split(b":")[1]) if marked else rest.find(b"\0")
        if length < 0 or len(rest) <= length:
            return None
        assert rest[length] == 0
        self._buffer = rest[length + 1 :]
        return Heard(raw, rest[:length])

    def _receive(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError("the client closed the connection")
        self._buffer += data

    def expect(self, command: str) -> Heard:
        """The next frame, which must have this command."""
        frame = self.read()
        assert frame.command == command, f"{frame.command} came, not {command}"
        return frame

    def write(self, data: str | bytes) -> None:
        """Send bytes; in text, ``^@`` stands for NUL.

        A client may leave while a script still has something for it; then the script ends there.
        """
        try:
            self.connection.sendall(
                data.encode().replace(b"^@", b"\0") if isinstance(data, str) else data
            )
        except ConnectionError as error:
            raise ClientLeftError from error

    def welcome(self, version: str = "1.2", **headers: str) -> Heard:
        """Read CONNECT and answer CONNECTED; 1.0 does not name its version."""
        frame = self.expect("CONNECT")
        lines = [f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items()]
        if version != "1.0":
            lines.insert(0, f"version:{version}\n")
        self.write(f"CONNECTED\n{''.join(lines)}\n^@")
        return frame

    def message(self, number: int, subscription: str = "s1", body: str = "", **more: str) -> None:
        """Send a MESSAGE."""
        lines = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in more.items())
        self.write(
            f"MESSAGE\nsubscription:{subscription}\nmessage-id:m{number}\n"
            f"destination:/queue/q\n{lines}\n{body}^@"
        )

    def receipt(self, frame: Heard) -> None:
        """Send the RECEIPT that a frame asked for."""
        self.write(f"RECEIPT\nreceipt-id:{frame['receipt']}\n\n^@")

    def serve(self) -> Iterator[Heard]:
        """The frames of the client until DISCONNECT; every receipt is given."""
        while True:
            frame = self.read()
            yield frame
            if "receipt" in frame.headers:
                self.receipt(frame)
            if frame.command == "DISCONNECT":
                return

    def until_closed(self) -> None:
        """Read until the client has closed the connection."""
        with suppress(ConnectionError):
            while self.connection.recv(65536):
                pass

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


def obedient(peer: Peer) -> None:
    """A script: welcome, then a receipt for everything that asks for one."""
    peer.welcome()
    for _ in peer.serve():
        pass


class ScriptedServer:
    """Listens on a free port; the first connection gets the first script, and so on.

    Args:
        scripts: what to do with each connection.
        dress: puts something upon the socket first, such as TLS.
    """

    def __init__(
        self,
        *scripts: Callable[[Peer], None],
        dress: Callable[[socket.socket], socket.socket] = lambda connection: connection,
    ) -> None:
        self._scripts = scripts
        self._dress = dress
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address: tuple[str, int] = ("127.0.0.1", self._listener.getsockname()[1])
        """Host and port."""
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self._failures: list[BaseException] = []
        self._acceptor = threading.Thread(target=self._accept, name="scripted server")
        self.done = threading.Event()
        """Set when the scripts have ended."""

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"stomp://127.0.0.1:{self.address[1]}"

    def _accept(self) -> None:
        for script in self._scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            peer = Peer(connection)
            thread = threading.Thread(target=self._play, args=(script, peer), name="script")
            self._peers.append(peer)
            self._threads.append(thread)
            thread.start()
        for thread in self._threads:
            thread.join()
        self.done.set()

    def _play(self, script: Callable[[Peer], None], peer: Peer) -> None:
        try:
            peer.connection = self._dress(peer.connection)
            script(peer)
        except ClientLeftError:
            pass
        except BaseException as failure:
            self._failures.append(failure)
        finally:
            peer.connection.close()

    def __enter__(self) -> ScriptedServer:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            # The test has failed already; do not wait for scripts that wait for it.
            for peer in self._peers:
                with suppress(OSError):
                    peer.connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE)
        self._listener.close()
        if error is None:
            assert not self._acceptor.is_alive(), "a script did not end"
            if self._failures:
                raise self._failures[0]


def eventually(condition: Callable[[], object], what: str = "it") -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline, f"{what} did not happen within {PATIENCE:g} s"
        pause.wait(0.002)


def heard_by(use: Callable[[stompy.STOMPClient], object], version: str = "1.2") -> list[Heard]:
    """What a server hears when a client is used, up to DISCONNECT and without it."""
    heard: list[Heard] = []

    def script(peer: Peer) -> None:
        peer.welcome(version)
        heard.extend(peer.serve())

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        use(client)
    return heard[:-1]
