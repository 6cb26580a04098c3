"""The real program in real terminals: typed into, read back, resized, killed; and hostile names."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.scripted_server import eventually

import stompy
from stompy_broker import RunningBroker, running

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running() as broker, stompy.connect(broker.url) as client:
        client.wait_for_receipt(client.message("/queue/orders", "x", receipt=True))
        yield broker


class Tmux:
    """A terminal of 120 by 36 with a shell in it."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / uuid.uuid4().hex[:8])
        self("new-session", "-d", "-x", "120", "-y", "36", "env PS1='$ ' sh")

    def __call__(self, *words: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *words]
        # Who sets these says that the terminal never changes its size.
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=inherited)
        return done.stdout

    def type(self, *keys: str) -> None:
        self("send-keys", *keys)

    def screen(self) -> str:
        return self("capture-pane", "-p")

    def see(self, words: str) -> None:
        try:
            eventually(lambda: words in self.screen(), words)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{self.screen()}") from None


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    if TMUX is None:
        pytest.skip("tmux is not installed")
    terminal = Tmux(tmp_path)
    yield terminal
    terminal("kill-server")


def is_sane(terminal: Tmux) -> None:
    """The shell is back on its own screen, echoes what is typed, and has a cursor."""
    eventually(lambda: terminal.screen().rstrip().endswith("$"), "the prompt")
    terminal.type("stty -a | grep -c ' echo '; echo sa''ne", "Enter")
    terminal.see("sane")
    lines = terminal.screen().splitlines()
    assert "stompy-monitor" not in lines[0] or "$" in lines[0]
    assert lines[lines.index("sane") - 1] == "1"
    flags = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"
    assert terminal("display-message", "-p", flags).split() == ["0", "1", "0"]


@pytest.mark.slow
def test_it_is_typed_into_and_leaves_the_terminal_as_it_was(
    terminal: Tmux, broker: RunningBroker
) -> None:
    terminal.type(f"{sys.executable} -m stompy_monitor {broker.url}; echo co''de $?", "Enter")
    terminal.see("Deepest queues")
    for key, words in (
        ("2", "UNACKED"),
        ("3", "CAUSE"),
        ("4", "SUBS"),
        ("5", "CLIENT"),
        ("6", "DESTINATION"),
        ("7", "ONLINE"),
        ("8", "DESTINATIONS"),
        ("9", "EVENT"),
    ):
        terminal.type(key)
        terminal.see(words)
    terminal.type("2")
    terminal.see("UNACKED")  # or the sign is for the view before
    terminal.type("/")
    terminal.type("-l", "ord")
    terminal.type("Enter")
    terminal.see("1 of 1")
    terminal.type("Enter")
    terminal.see("Consumers")
    terminal("resize-window", "-x", "50", "-y", "10")
    terminal.see("the terminal is too small")
    terminal("resize-window", "-x", "120", "-y", "36")
    terminal.see("Consumers")
    terminal.type("q")
    terminal.see("code 0")
    is_sane(terminal)


def test_it_ends_with_its_terminal(broker: RunningBroker) -> None:
    """Also where no signal tells, as here, where the terminal controls nobody."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "stompy_monitor", broker.url]
    environment = {**os.environ, "TERM": "xterm-256color"}
    program = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment
    )
    os.close(slave)
    try:
        seen = b""
        while b"orders" not in seen:
            assert select.select([master], [], [], 30)[0], seen[-500:]
            seen += os.read(master, 65536)
        os.close(master)
        assert program.wait(30) == -signal.SIGHUP
    finally:
        program.kill()
        program.wait()


def test_killed_it_leaves_the_terminal_as_it_was(
    terminal: Tmux, broker: RunningBroker, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    program = f"{sys.executable} -m stompy_monitor {broker.url}"
    terminal.type(f"sh -c 'echo $$ > {file}; exec {program}'; echo co''de $?", "Enter")
    terminal.see("Deepest queues")
    os.kill(int(file.read_text()), signal.SIGTERM)
    terminal.see("code 0")
    is_sane(terminal)


# -- hostile names -------------------------------------------------------------------------------

OURS = re.compile(
    rb"\x1b\[[0-9;:?<>=$]*[A-Za-z~]"  # cursor, colours, modes
    rb"|\x1b\]22;[a-z-]*\x07"  # the shape of the mouse pointer
    rb"|\x1bP\+q[0-9a-f]*\x1b\\|\x1b\[>\d*q|\x1b[=>78]"
)
"""The control sequences that Textual itself sends."""
NAMES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0")
    | st.sampled_from("\x1b\x07\x9b\x9d\u202e\u2066\u200d\u0301[]/$"),
    min_size=1,
    max_size=30,
)
HOSTILE = (
    "\x1b]0;owned\x07",
    "[/bold]",
    "[@click=app.quit]x[/]",
    "\x9b31mred",
    "\u202eevil",
    "a\u0301" * 20,
)


@contextlib.contextmanager
def on_a_terminal(url: str, *options: str) -> Iterator[int]:
    """The program on a pseudo-terminal that understands nothing; its other end."""
    child, fd = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
        os.execv(sys.executable, [sys.executable, "-m", "stompy_monitor", url, *options])
    try:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        yield fd
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(fd)


def read_until(fd: int, words: bytes, seconds: float = 20.0) -> bytes:
    """What is painted until some words come."""
    painted = b""
    end = time.monotonic() + seconds
    while words not in painted:
        left = end - time.monotonic()
        assert left > 0, (words, painted[-200:])
        if select.select([fd], [], [], left)[0]:
            painted += os.read(fd, 1 << 16)
    return painted


@pytest.mark.timeout(120)
def test_hostile_names_headers_and_bodies_reach_the_terminal_as_pictures() -> None:
    names = [*HOSTILE]

    @settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))
    @given(NAMES)
    def gather(name: str) -> None:
        names.append(name)

    gather()
    with running() as broker, stompy.connect(broker.url) as client:
        for name in names:
            headers = {f"x{name}".replace(":", "") or "x": name}
            body = f"{name}\x1b[2J\x9b".encode()
            if name.isprintable() and name == name.strip():  # the broker takes no others
                client.message(f"/queue/q{name}", body, headers=headers)
            client.message("/queue/a-first", body, headers=headers)
        client.wait_for_receipt(client.message("/queue/z", "x", receipt=True))
        painted = b""
        with on_a_terminal(broker.url, "--view", "queues", "--sort", "name") as fd:
            painted += read_until(fd, b"a-first")
            os.write(fd, b"Gq")
            painted += read_until(fd, b"\x1b[?1049l")
        with on_a_terminal(broker.url, "--view", "queues", "--filter", "a-first") as fd:
            painted += read_until(fd, b" 1 of ")
            for key, words in ((b"m", b"owned"), (b"\r", b"Headers"), (b"v", b"hex")):
                os.write(fd, key)
                painted += read_until(fd, words)
            os.write(fd, b"q")
            painted += read_until(fd, b"\x1b[?1049l")
    shown = OURS.sub(b"", painted).decode()
    controls = {char for char in shown if not char.isprintable()} - set("\r\n\t ")
    around = re.findall(r".{0,30}[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f].{0,30}", shown)
    assert controls == set(), around[:5]
    assert "owned" in shown  # it was seen, not left out
