"""Whether anybody still reads what a command writes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from tests.support.scripted_server import Peer, ScriptedServer

import stompy
from stompy.cli.output import Output


@contextmanager
def piped(monkeypatch):
    reader, writer = os.pipe()
    with open(writer, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        yield reader
        monkeypatch.undo()


def test_a_reader_that_leaves_is_noticed(monkeypatch):
    told = threading.Event()
    output = Output()
    with piped(monkeypatch) as reader, output.watched(told.set):
        assert not output.gone
        os.close(reader)
        assert told.wait(10)
    assert output.gone


def test_a_reader_that_stays_is_no_event(monkeypatch):
    output = Output()
    with piped(monkeypatch) as reader:
        with output.watched(pytest.fail):
            pass
        assert not output.gone
        os.close(reader)


def test_who_writes_is_told_afterwards(monkeypatch):
    told = threading.Event()
    output = Output()
    with piped(monkeypatch) as reader, output.watched(told.set):
        with output.busy:
            os.close(reader)
            assert not told.wait(0.05)
            assert not output.gone
        assert told.wait(10)


def test_an_output_without_descriptor_is_not_watched(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with Output().watched(pytest.fail):
        pass


def test_listen_ends_when_nobody_reads_it_any_more():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SUBSCRIBE")
        peer.receipt(frame)
        peer.message(1, frame["id"], "one", ack="a1")
        heard.extend(frame.command for frame in peer.serve())

    with ScriptedServer(script) as server:
        listen = subprocess.Popen(
            [sys.executable, "-m", "stompy", "listen", "/queue/q", "-q", "--url", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert listen.stdout.readline() == b"one\n"
        listen.stdout.close()
        assert listen.wait(30) == 0
        assert listen.stderr.read() == b""
        listen.stderr.close()
    assert heard[0] == "ACK"


@pytest.mark.parametrize(
    ("closed", "command", "said"),
    [
        (0, "send", "stompy: standard input is closed, so there is nothing to send; give a BODY"),
        (1, "listen", "stompy: standard output is closed, so there is no place for messages"),
    ],
)
def test_a_stream_that_is_closed_is_said(closed, command, said):
    def script(peer: Peer) -> None:
        peer.welcome()
        assert [frame.command for frame in peer.serve()] == ["DISCONNECT"]

    with ScriptedServer(script) as server:
        ended = subprocess.run(
            [sys.executable, "-m", "stompy", command, "/queue/q", "-q", "--url", server.url],
            preexec_fn=lambda: os.close(closed),
            stderr=subprocess.PIPE,
            check=False,
        )
        if command == "listen":  # which looks before it connects
            stompy.connect(server.address).disconnect()
    assert (ended.returncode, ended.stderr.decode().strip()) == (2, said)
