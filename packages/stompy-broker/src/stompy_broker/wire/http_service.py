"""Answers HTTP requests: who may see what, and which page it is.

Health and readiness are for everybody, and so is everything where it is said to be; elsewhere a
login is needed, by HTTP's Basic scheme or by a certificate, with the role `monitor`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from stompy.admin.rows import Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.health import Health
from stompy_broker.admin.pages import (
    HEALTH,
    METRICS,
    READINESS,
    SNAPSHOT,
    Page,
    Pages,
    may_exist,
    note,
    readiness_page,
)
from stompy_broker.security.auth import Credentials, Principal, Verdict
from stompy_broker.security.login import Logins
from stompy_broker.wire.http_request import HTTPRequest

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="stompy-broker", charset="UTF-8"'}
_THERE_ARE = f"there are {HEALTH}, {READINESS}, {METRICS} and {SNAPSHOT}queues, for instance"
_METHODS = ("GET", "HEAD")

PageTaker = Callable[[Page], None]
"""Takes what is answered."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        host: the IP address.
        certificate: the login that the client's certificate stands for.
        trusted: whether everybody who comes this way may see everything.
        refusal: why there is no place for it just now; None = there is.
        websockets: whether a WebSocket could have been opened instead.
    """

    host: str
    certificate: str | None
    trusted: bool
    refusal: ProtocolError | None
    websockets: bool


class HTTPService:
    """Answers requests.

    Args:
        health: of the broker.
        pages: makes the pages.
        logins: says who may come in.
        check_names: whether where all are trusted, the request has to name this machine.
    """

    def __init__(self, health: Health, pages: Pages, logins: Logins, *, check_names: bool) -> None:
        self._health = health
        self._pages = pages
        self._logins = logins
        self._check_names = check_names

    def answer(
        self, request: HTTPRequest, caller: Caller, take: PageTaker, gone: Callable[[], bool]
    ) -> Callable[[], None]:
        """Answer a request, now or later.

        Args:
            request: it.
            caller: who sent it.
            take: takes the answer.
            gone: tells whether nobody waits for it any more.

        Returns:
            What to call when nobody waits any more.
        """
        page = self._refusal(request, caller) or self._at_once(request, caller)
        if page is not None:
            take(page)
        elif request.path == HEALTH:
            self._pages.health(take)
        elif caller.trusted:
            self._show(request, take)
        else:
            return self._log_in(request, caller, take, gone)
        return _nothing

    def _refusal(self, request: HTTPRequest, caller: Caller) -> Page | None:
        """What is not answered at all, whichever page it is."""
        if request.method not in _METHODS:
            headers = {"Allow": ", ".join(_METHODS)}
            return note(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are answered", headers)
        # A page of somebody else's whose name was made to lead here would be read by a browser.
        if caller.trusted and self._check_names and not names_an_address(request):
            return note(HTTPStatus.FORBIDDEN, "ask for localhost, or by the address")
        return None

    def _at_once(self, request: HTTPRequest, caller: Caller) -> Page | None:
        """What to say at once: of readiness, or if there is no such page, or not now."""
        if request.path == HEALTH:
            return None
        if request.path == READINESS:
            return readiness_page(self._health)
        if not may_exist(request.path):
            if caller.websockets:
                words = f"This port speaks STOMP, over a WebSocket or without; {_THERE_ARE}."
                return note(HTTPStatus.UPGRADE_REQUIRED, words, {"Upgrade": "websocket"})
            return note(HTTPStatus.NOT_FOUND, f"there is no such page; {_THERE_ARE}")
        if caller.refusal is not None:
            return note(HTTPStatus.SERVICE_UNAVAILABLE, caller.refusal.Message)
        if self._health.phase:
            return note(HTTPStatus.SERVICE_UNAVAILABLE, self._health.phase)
        return None

    def _show(self, request: HTTPRequest, take: PageTaker) -> None:
        self._pages.make(request.path, request.headers.get("accept", ""), take)

    def _log_in(
        self,
        request: HTTPRequest,
        caller: Caller,
        take: PageTaker,
        gone: Callable[[], bool],
    ) -> Callable[[], None]:
        """Show a page to who may see it; gives what to call when nobody waits any more."""
        logins = self._logins
        try:
            login, passcode = basic_credentials(request.headers.get("authorization", ""))
        except ValueError as error:
            take(note(HTTPStatus.UNAUTHORIZED, str(error), _CHALLENGE))
            return _nothing

        def decided(verdict: Verdict) -> None:
            if gone():
                return
            page = _verdict_page(verdict)
            if page is not None:
                take(page)
            else:
                self._show(request, take)

        credentials = Credentials(login, passcode, caller.host, caller.certificate)
        attempt = logins.authenticate(credentials, decided, gone)
        return _nothing if attempt is None else lambda: logins.give_up(attempt)


def _verdict_page(verdict: Verdict) -> Page | None:
    """What to say to somebody who may see nothing; None = it may."""
    if isinstance(verdict, Principal):
        if verdict.role.includes(Role.MONITOR):
            return None
        words = f"this needs the role 'monitor'; the user has the role {verdict.role.value!r}"
        return note(HTTPStatus.FORBIDDEN, words)
    if verdict.error_code is ErrorCode.AUTHENTICATION_FAILED:
        return note(HTTPStatus.UNAUTHORIZED, "this needs a login, and the right one", _CHALLENGE)
    return note(HTTPStatus.SERVICE_UNAVAILABLE, verdict.Message, {"Retry-After": "5"})


def basic_credentials(header: str) -> tuple[str | None, str | None]:
    """The login and passcode in a header ``authorization``; nothing if it is empty.

    Raises:
        ValueError: it is of another scheme, or cannot be read.
    """
    if not header:
        return None, None
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        raise ValueError("logins are taken by the Basic scheme")
    try:
        login, colon, passcode = (
            base64.b64decode(text.strip(), validate=True).decode().partition(":")
        )
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("the credentials cannot be read") from None
    if not colon:
        raise ValueError("the credentials cannot be read")
    return login, passcode


def names_an_address(request: HTTPRequest) -> bool:
    """Whether the name of the host in a request cannot be one that somebody else has chosen."""
    host = request.headers.get("host", "localhost").lower()
    bracketed = host.startswith("[")
    bare = host[1:].partition("]")[0] if bracketed else host.partition(":")[0]
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


def _nothing() -> None:
    pass
