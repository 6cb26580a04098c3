"""The command line: what goes where, and with which exit code."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually, obedient
from tests.support.secure import ca_file, server_context

import stompy
from stompy.cli import main, options

COMMAND = [sys.executable, "-m", "stompy"]


@pytest.fixture
def stdin(monkeypatch):
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


class Recorder:
    """A script that gives receipts, and what it heard."""

    def __init__(self) -> None:
        self.connect = None
        self.frames: list = []

    def __call__(self, peer: Peer) -> None:
        self.connect = peer.welcome()
        self.frames.extend(peer.serve())

    @property
    def bodies(self) -> list[bytes]:
        return [frame.body for frame in self.frames if frame.command == "SEND"]


def deliver(*bodies: bytes, heard: list | None = None, stay: bool = True):
    """A script that sends messages to its subscriber."""

    def script(peer: Peer) -> None:
        peer.welcome()
        subscription = peer.expect("SUBSCRIBE")
        peer.receipt(subscription)
        for number, body in enumerate(bodies, 1):
            peer.write(
                b"MESSAGE\nsubscription:%b\nmessage-id:m%d\nack:a%d\ndestination:/queue/q\n"
                b"content-length:%d\n\n%b\0"
                % (subscription["id"].encode(), number, number, len(body), body)
            )
        if stay:
            try:
                for frame in peer.serve():
                    if heard is not None:
                        heard.append((frame.command, frame.headers.get("id")))
            except (EOFError, ConnectionError):
                pass

    return script


# -- send ----------------------------------------------------------------------------------------


def test_send_sends_its_argument_and_waits_for_the_receipt(capsys):
    record = Recorder()
    with ScriptedServer(record) as server:
        arguments = ["send", "/queue/q", "grüß", "--url", server.url]
        assert main([*arguments, "-H", "priority:9", "-H", "url: a:b"]) == 0
    frame = record.frames[0]
    assert frame.body == "grüß".encode()
    assert frame["destination"] == "/queue/q"
    assert (frame["priority"], frame["url"]) == ("9", "a\\cb")
    assert "receipt" in frame.headers
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "k:v", "a body"],
        ["-H", "k:v", "a body", "-q"],
        ["-H", "k:v", "--", "a body"],
    ],
)
def test_the_body_may_stand_behind_options(arguments):
    recorder = Recorder()
    with ScriptedServer(recorder) as server:
        assert main(["send", "/queue/q", "--url", server.url, *arguments]) == 0
    assert recorder.bodies == [b"a body"]


def test_send_reads_standard_input(stdin):
    record = Recorder()
    stdin(b"\0binary\nlines\n")
    with ScriptedServer(record) as server:
        assert main(["send", "/queue/q", "--url", server.url, "--no-receipt"]) == 0
    assert record.bodies == [b"\0binary\nlines\n"]
    assert "receipt" not in record.frames[0].headers


def test_send_lines(stdin, capsys):
    record = Recorder()
    stdin(b"".join(b"%d\n" % number for number in range(2500)) + b"\r\nlast")
    with ScriptedServer(record) as server:
        assert main(["send", "/queue/q", "--lines", "--url", server.url]) == 0
    assert record.bodies == [b"%d" % number for number in range(2500)] + [b"", b"last"]
    assert capsys.readouterr() == ("", "stompy: sent 2502 messages to /queue/q\n")


def test_send_fails_with_the_words_of_the_broker(capsys):
    def refuse(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SEND")
        peer.write(f"ERROR\nmessage:not\\nhere\nreceipt-id:{frame['receipt']}\n\nat \x1b all^@")

    with ScriptedServer(refuse) as server:
        assert main(["send", "/queue/q", "x", "--url", server.url]) == 1
    assert capsys.readouterr() == ("", "stompy: not here: at \\x1b all\n")


def test_send_fails_when_no_receipt_comes(capsys):
    def silent(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        peer.receipt(peer.expect("DISCONNECT"))

    with ScriptedServer(silent) as server:
        assert main(["send", "/queue/q", "x", "--url", server.url, "--timeout", "0.05"]) == 1
    assert re.fullmatch(r"stompy: no receipt 'r\d+' came within \S+ s\n", capsys.readouterr().err)


def test_no_broker_is_one_line_and_exit_code_1(capsys):
    with ScriptedServer() as closed:
        url = closed.url
    assert main(["send", "/queue/q", "x", "--url", url]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"stompy: cannot connect to {url} (TCP: Connection refused)\n"


# -- the broker and its secrets ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "options", "environment", "expected"),
    [
        ("", [], {}, (None, None)),
        ("me:pw@", [], {}, ("me", "pw")),
        ("me:pw@", [], {"STOMPY_PASSCODE": "env"}, ("me", "pw")),
        ("me@", [], {"STOMPY_PASSCODE": "env"}, ("me", "env")),
        ("", ["--login", "you", "--passcode", "x"], {"STOMPY_PASSCODE": "env"}, ("you", "x")),
        ("me:pw@", ["--login", "you", "--passcode", "x"], {}, ("you", "x")),
    ],
)
def test_where_login_and_passcode_come_from(monkeypatch, user, options, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    record = Recorder()
    with ScriptedServer(record) as server:
        url = server.url.replace("//", f"//{user}")
        assert main(["send", "/queue/q", "x", "--url", url, *options]) == 0
    assert (record.connect.headers.get("login"), record.connect.headers.get("passcode")) == expected


def test_the_url_comes_from_the_environment_or_is_the_default(monkeypatch, capsys):
    with ScriptedServer(Recorder()) as server:
        monkeypatch.setenv("STOMPY_URL", server.url)
        assert main(["send", "/queue/q", "x"]) == 0
    assert options.DEFAULT_URL == "stomp://127.0.0.1:61613"
    monkeypatch.delenv("STOMPY_URL")
    monkeypatch.setattr(options, "DEFAULT_URL", "stomp://127.0.0.1:1")
    assert main(["send", "/queue/q", "x"]) == 1
    assert "127.0.0.1:1 " in capsys.readouterr().err


# -- listen --------------------------------------------------------------------------------------


def test_listen_writes_messages_to_stdout_and_acknowledges_them(capfdbinary):
    heard = []
    with ScriptedServer(deliver(b"one", b"two\n", b"\xff", heard=heard)) as server:
        assert main(["listen", "/queue/q", "-n", "3", "--url", server.url]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"one\ntwo\n\xff\n"
    assert err.startswith(b"stompy: listening to /queue/q at ")
    assert err.count(b"\n") == 1
    assert heard == [("ACK", "a1"), ("ACK", "a2"), ("ACK", "a3"), ("DISCONNECT", None)]


def test_listen_takes_no_more_than_it_was_asked_for(capfdbinary):
    heard = []
    with ScriptedServer(deliver(b"one", b"two", heard=heard)) as server:
        assert main(["listen", "/queue/q", "-n", "1", "--url", server.url, "-q"]) == 0
    assert capfdbinary.readouterr() == (b"one\n", b"")
    assert heard == [("ACK", "a1"), ("DISCONNECT", None)]


@pytest.mark.parametrize(
    ("options", "prefetch"),
    [
        (["-n", "1"], {"prefetch-count": "1", "activemq.prefetchSize": "1"}),
        (["-n", "5000"], {"prefetch-count": "1000", "activemq.prefetchSize": "1000"}),
        (["-n", "1", "-H", "prefetch-count:7"], {"prefetch-count": "7"}),
        (["--timeout", "0.1"], {}),
        (["-n", "1", "--ack", "auto"], {}),
    ],
)
def test_listen_asks_for_no_more_than_it_will_take(options: list[str], prefetch: dict[str, str]):
    """What lies in its window while it ends would come late to whoever is next."""
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.append(peer.expect("SUBSCRIBE"))
        peer.receipt(heard[0])
        peer.message(1, heard[0]["id"], ack="a1")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        main(["listen", "/queue/q", "--timeout", "0.3", *options, "--url", server.url])
    asked = {name: heard[0].headers[name] for name in prefetch}
    assert asked == prefetch
    assert prefetch or not {"prefetch-count", "activemq.prefetchSize"} & heard[0].headers.keys()


def test_listen_subscribes_as_asked():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SUBSCRIBE")
        heard.append(frame)
        peer.receipt(frame)
        peer.message(1, frame["id"])
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        options = ["--ack", "auto", "--selector", "x > 1"]
        assert main(["listen", "/topic/t", "-n", "1", "--url", server.url, *options]) == 0
    assert [frame.command for frame in heard] == ["SUBSCRIBE", "DISCONNECT"]
    assert (heard[0]["destination"], heard[0]["ack"]) == ("/topic/t", "auto")
    assert heard[0]["selector"] == "x > 1"


def test_listen_takes_nothing_where_a_selector_would_be_ignored(capsys):
    def script(peer: Peer) -> None:
        peer.welcome(server="RabbitMQ/3.10.8")
        peer.serve()

    with ScriptedServer(script) as server:
        options = ["--selector", "x > 1", "--url", server.url]
        assert main(["listen", "/queue/q", *options]) == 1
    assert "RabbitMQ ignores selectors" in capsys.readouterr().err


def test_listen_json(capfdbinary):
    with ScriptedServer(deliver("grüß\n".encode(), b"\xff")) as server:
        options = ["--format", "json", "-n", "2", "--url", server.url]
        assert main(["listen", "/queue/q", *options]) == 0
    first, second = (json.loads(line) for line in capfdbinary.readouterr().out.splitlines())
    assert first["body"] == "grüß\n"
    assert first["headers"]["message-id"] == "m1"
    assert second["body_base64"] == "/w=="
    assert "body" not in second


def test_listen_frame(capfdbinary):
    with ScriptedServer(deliver(b"one")) as server:
        options = ["--format", "frame", "-n", "1", "--url", server.url]
        assert main(["listen", "/queue/q", *options]) == 0
    out = capfdbinary.readouterr().out
    assert out.startswith(b"MESSAGE\nsubscription:")
    assert out.endswith(b"\n\none\0\n")


def test_a_message_cannot_steer_a_terminal(monkeypatch):
    written = io.BytesIO()

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal(written, encoding="utf-8"))
    with ScriptedServer(deliver("\x1b[2Jgrüß\t\x07\r\nb".encode())) as server:
        assert main(["listen", "/queue/q", "-n", "1", "--url", server.url, "-q"]) == 0
        assert written.getvalue() == "\\x1b[2Jgrüß\t\\x07\\r\nb\n".encode()


def test_listen_times_out_with_fewer_messages_than_asked(capfdbinary):
    with ScriptedServer(deliver(b"one")) as server:
        options = ["-n", "2", "--timeout", "0.1", "--url", server.url]
        assert main(["listen", "/queue/q", *options]) == 3
    out, err = capfdbinary.readouterr()
    assert out == b"one\n"
    assert err.endswith(b"stompy: 1 of 2 messages came, then none for 0.1 s\n")


def test_listen_without_count_ends_well_when_nothing_comes_any_more(capfdbinary):
    with ScriptedServer(deliver(b"one")) as server:
        assert main(["listen", "/queue/q", "--timeout", "0.1", "--url", server.url]) == 0
    assert capfdbinary.readouterr().out == b"one\n"


def test_listen_fails_when_the_broker_goes(capfdbinary):
    with ScriptedServer(deliver(b"one", stay=False)) as server:
        assert main(["listen", "/queue/q", "--url", server.url]) == 1
    out, err = capfdbinary.readouterr()
    assert out in (b"one\n", b"")
    assert b"the broker closed the connection" in err or b"was lost" in err


def test_listen_fails_when_the_subscription_is_refused(capsys):
    def refuse(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SUBSCRIBE")
        peer.write(f"ERROR\nmessage:no\nreceipt-id:{frame['receipt']}\n\n^@")

    with ScriptedServer(refuse) as server:
        assert main(["listen", "/queue/q", "--url", server.url]) == 1
    assert capsys.readouterr().err == "stompy: no\n"


# -- wrong usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["shout"],
        ["send"],
        ["listen"],
        ["send", "/queue/q", "x", "-H", "no colon"],
        ["send", "/queue/q", "x", "-H", ":no name"],
        ["send", "/queue/q", "x", "y"],
        ["listen", "/queue/q", "-n", "0"],
        ["listen", "/queue/q", "-n", "-1"],
        ["listen", "/queue/q", "-n", "many"],
        ["listen", "/queue/q", "--timeout", "soon"],
        ["listen", "/queue/q", "--timeout", "-1"],
        ["listen", "/queue/q", "--timeout", "nan"],
        ["listen", "/queue/q", "--timeout", "inf"],
        ["listen", "/queue/q", "--ack", "maybe"],
        ["listen", "/queue/q", "--format", "xml"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://broker", "broker:61613", "https://broker"])
def test_a_wrong_url_is_exit_code_2(url, capsys):
    assert main(["send", "/queue/q", "x", "--url", url]) == 2
    assert capsys.readouterr().err.startswith("stompy: ")


def test_a_header_that_cannot_be_sent_is_exit_code_2(capsys):
    def old(peer: Peer) -> None:
        peer.welcome("1.0")
        peer.serve()
        peer.receipt(peer.expect("DISCONNECT"))

    for command in (["send", "/queue/q", "x"], ["listen", "/queue/q"]):
        with ScriptedServer(old) as server:
            assert main([*command, "--url", server.url, "-H", "a:two\nlines"]) == 2
        assert "STOMP 1.0 cannot carry" in capsys.readouterr().err


# -- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--help"], *([name, "--help"] for name in ("send", "listen", "request", "ping", "bench"))],
)
def test_help_teaches_by_example_and_tells_the_exit_codes(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for text in ("examples:\n  stompy ", "exit codes:", "$STOMPY_URL", "$STOMPY_PASSCODE"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 100


# -- in a pipeline -------------------------------------------------------------------------------


def test_python_m_stompy_in_a_pipe():
    record = Recorder()
    with ScriptedServer(record) as server:
        result = subprocess.run(
            [*COMMAND, "send", "/queue/q", "--lines", "-q", "--url", server.url],
            input=b"one\ntwo\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert record.bodies == [b"one", b"two"]


def test_lines_leave_while_the_input_is_still_open():
    record = Recorder()
    with ScriptedServer(record) as server:
        process = subprocess.Popen(
            [*COMMAND, "send", "/queue/q", "--lines", "--url", server.url],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        process.stdin.write(b"one\n")
        process.stdin.flush()
        eventually(lambda: record.bodies == [b"one"])
        process.stdin.close()
        assert process.wait(15) == 0


def test_a_reader_that_has_had_enough_is_no_error():
    with ScriptedServer(deliver(*[b"x" * 1000] * 500)) as server:
        process = subprocess.Popen(
            [*COMMAND, "listen", "/queue/q", "-q", "--url", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"x" * 1000 + b"\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(15) == 0


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_control_c_is_quiet():
    subscribed = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        subscribed.set()
        peer.receipt(peer.expect("DISCONNECT"))

    with ScriptedServer(script) as server:
        process = subprocess.Popen(
            [*COMMAND, "listen", "/queue/q", "--url", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert subscribed.wait(15)
        assert b"listening" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, b"", b"")


# -- encryption ----------------------------------------------------------------------------------


def test_options_for_encryption_without_encryption_are_refused(capsys):
    """Else somebody would believe that the connection is safe."""
    for option in (["--ca-file", "ca.pem"], ["--insecure"]):
        assert main(["ping", *option, "--url", "stomp://127.0.0.1:1"]) == 2
        assert "stomps:// or wss://" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys):
    assert main(["ping", "--ca-file", "nowhere.pem", "--url", "stomps://127.0.0.1:1"]) == 2
    assert "nowhere.pem" in capsys.readouterr().err


def test_a_broker_with_a_certificate_of_its_own(tmp_path):
    context = server_context()
    with ScriptedServer(
        obedient, dress=lambda connection: context.wrap_socket(connection, server_side=True)
    ) as server:
        url = server.url.replace("stomp://", "stomps://")
        arguments = ["--ca-file", ca_file(tmp_path), "--url", url]
        assert main(["send", "/queue/q", "x", *arguments]) == 0


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--cert-file", "{ca}", "--key-file", "nowhere"], "--cert-file '{ca}', --key-file"),
        (["--key-file", "{ca}"], "--key-file needs the certificate as well: --cert-file"),
        (["--insecure", "--ca-file", "{ca}"], "--insecure verifies nothing, so --ca-file"),
    ],
)
def test_errors_of_encryption_speak_of_options(tmp_path, capsys, arguments, advice):
    ca = ca_file(tmp_path)
    arguments = [one.format(ca=ca) for one in arguments]
    assert main(["ping", *arguments, "--url", "stomps://127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert advice.format(ca=ca) in err
    assert "TLS(" not in err
    assert "_file" not in err


def test_a_certificate_for_another_name(tmp_path):
    context = server_context()
    with ScriptedServer(
        obedient, dress=lambda connection: context.wrap_socket(connection, server_side=True)
    ) as server:
        url = server.url.replace("stomp://", "stomps://")
        arguments = ["--ca-file", ca_file(tmp_path), "--server-hostname", "localhost"]
        assert main(["send", "/queue/q", "x", *arguments, "--url", url]) == 0


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"stompy {stompy.__version__}\n"
