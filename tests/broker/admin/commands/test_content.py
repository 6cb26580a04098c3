"""What requests say that messages consist of."""

from __future__ import annotations

import pytest

from stompy.admin import CommandError
from stompy_broker.admin.commands.content import read_body, read_headers, read_place


def test_bodies_are_text_or_base64() -> None:
    assert read_body("ä", None) == "ä".encode()
    assert read_body("/wA=", "base64") == b"\xff\0"
    with pytest.raises(CommandError, match="not base64"):
        read_body("?", "base64")


def test_headers_are_texts_without_nul() -> None:
    assert read_headers({"a": 1, "b": "x\ny"}) == {"a": "1", "b": "x\ny"}
    assert read_headers(None) == {}
    with pytest.raises(CommandError, match="NUL"):
        read_headers({"a": "\0"})


@pytest.mark.parametrize("text", ["/temp-queue/a", "/queue/$SYS.command", "/reply-queue/a"])
def test_operators_send_to_queues_and_topics(text: str) -> None:
    assert str(read_place("to", "orders")) == "/queue/orders"
    with pytest.raises(CommandError, match="'to' must be a /queue/ or /topic/"):
        read_place("to", text)
