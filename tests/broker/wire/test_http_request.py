"""Requests by HTTP, fed whole, byte by byte and split at random."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.wire.http_request import (
    LARGEST_HEAD,
    MOST_HEADERS,
    BadRequestError,
    HTTPRequest,
    RequestReader,
)

GOOD = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a:1\r\nAccept: x\r\nAccept:\ty \r\nEmpty:\r\n\r\n"

Outcome = HTTPRequest | HTTPStatus | None


def outcome(*parts: bytes) -> Outcome:
    """The request, the status that it is refused with, or None while it is not complete."""
    reader = RequestReader()
    found: Outcome = None
    try:
        for part in parts:
            found = reader.receive(part)
            if found is not None:
                break
    except BadRequestError as error:
        return error.status
    return found


def test_a_request_is_read() -> None:
    request = outcome(GOOD)
    assert isinstance(request, HTTPRequest)
    assert (request.method, request.path) == ("GET", "/metrics")
    assert request.headers == {"host": "a:1", "accept": "x, y", "empty": ""}
    assert not request.opens_websocket


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"*", "*"),
        (b"http://host:61613/healthz?a", "/healthz"),
        (b"/api/snapshot/queue.a%2Fb%20c", "/api/snapshot/queue.a/b c"),
        (b"/%ff%zz", "/\ufffd%zz"),
        (b"//x", "//x"),
    ],
)
def test_the_path_is_taken_out_of_the_target(target: bytes, path: str) -> None:
    request = outcome(b"GET %s HTTP/1.0\r\n\r\n" % target)
    assert isinstance(request, HTTPRequest)
    assert request.path == path


@pytest.mark.parametrize("value", [b"websocket", b"WebSocket", b"h2c, websocket"])
def test_an_upgrade_is_seen(value: bytes) -> None:
    request = outcome(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: %s\r\n\r\n" % value)
    assert isinstance(request, HTTPRequest)
    assert request.opens_websocket


BAD = HTTPStatus.BAD_REQUEST
LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
REFUSED = [
    (b"GET / HTTP/1.1\r\n\r\n", BAD),  # no host
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\nHost: a\n\n", BAD),
    (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", BAD),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    (b"GET /\r\nHost: a\r\n\r\n", BAD),
    (b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", BAD),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", BAD),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * MOST_HEADERS + b"\r\n", LARGE),
    (b"GET /" + b"x" * (LARGEST_HEAD // 2), LARGE),
    (b"GET / HTTP/1.1\r\n" + (b"a: " + b"x" * 8000 + b"\r\n") * 5, LARGE),
]


@pytest.mark.parametrize(("data", "status"), REFUSED)
def test_what_is_not_a_request_is_refused(data: bytes, status: HTTPStatus) -> None:
    assert outcome(data) == status
    assert outcome(*(data[at : at + 1] for at in range(len(data)))) == status


def test_what_comes_behind_a_request_is_not_looked_at() -> None:
    reader = RequestReader()
    assert reader.receive(GOOD + b"GET \0 \n garbage") is not None
    assert bytes(reader.raw).endswith(b"garbage")


@given(st.sampled_from([GOOD, *(data for data, _ in REFUSED)]), st.data())
def test_it_does_not_matter_how_a_request_is_split(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert outcome(*parts) == outcome(data)


def test_every_split_in_two_gives_the_same() -> None:
    for at in range(len(GOOD)):
        assert outcome(GOOD[:at], GOOD[at:]) == outcome(GOOD)


pieces = st.sampled_from(
    [
        b"GET",
        b" ",
        b"/",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"Host",
        b":",
        b"a",
        b"\0",
        b"\xff",
    ]
)


@given(st.lists(pieces, max_size=30).map(b"".join), st.data())
def test_garbage_is_refused_or_waited_for_however_it_is_split(
    data: bytes, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(data)))
    whole = outcome(data)
    assert outcome(data[:at], data[at:]) == whole
    assert whole is None or isinstance(whole, HTTPStatus | HTTPRequest)
