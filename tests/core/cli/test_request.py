"""``stompy request``: a question, and the answer to it."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.wire import unique

import stompy
from stompy.cli import main


@contextmanager
def service(url: str, answer: bytes) -> Iterator[str]:
    """Somebody who answers one request; gives where to ask."""
    queue = f"/queue/{unique()}"
    with stompy.connect(url) as client:
        client.subscribe(queue, receipt=True)

        def work() -> None:
            request = client.recv(timeout=5)
            headers = {"correlation-id": request["correlation-id"], "asked": request["colour"]}
            client.message(request["reply-to"], request.Body + answer, headers=headers)

        thread = threading.Thread(target=work)
        thread.start()
        yield queue
        thread.join()


def test_the_answer_goes_to_stdout(broker, capfdbinary):
    with service(broker.url, b" indeed") as queue:
        arguments = ["request", queue, "really?", "-H", "colour:red", "--url", broker.url]
        assert main(arguments) == 0
    assert capfdbinary.readouterr() == (b"really? indeed\n", b"")


def test_from_stdin_to_json(broker, capfdbinary, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"really?")))
    with service(broker.url, b"!") as queue:
        arguments = ["request", queue, "-H", "colour:red", "--format", "json"]
        assert main([*arguments, "--url", broker.url]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert told["body"] == "really?!"
    assert told["headers"]["asked"] == "red"


def test_nobody_answers(broker, capsys):
    arguments = ["request", f"/queue/{unique()}", "x", "--timeout", "0.05", "--url", broker.url]
    assert main([*arguments, "-H", "reply-timeout:0"]) == 3
    assert "within 0.05 s" in capsys.readouterr().err
    assert main(arguments) == 4
    assert "nobody consumes" in capsys.readouterr().err


def test_it_is_given_up(broker, capsys):
    queue = f"/queue/{unique()}"
    with stompy.connect(broker.url) as client:
        subscription = client.subscription(queue)

        def work() -> None:
            subscription.get(timeout=5).nack(requeue=False, reason="no such spoon")

        thread = threading.Thread(target=work)
        thread.start()
        assert main(["request", queue, "x", "--url", broker.url]) == 5
        thread.join()
    assert "no such spoon" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["/queue/q", "x", "y"], ["/queue/q", "--timeout", "x"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["request", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err
