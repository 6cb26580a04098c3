"""The dashboard in a browser: textual-serve with a lock on the door.

textual-serve starts one program for each browser and has neither log-in nor a check of origins, so
that any page in the same browser could drive what listens on localhost. Here a random token in the
address lets somebody in and becomes a cookie; ``Host`` and ``Origin`` must be ours; the programs
are read-only unless told otherwise, and there are not many of them. Secrets reach them through the
environment, which no list of processes shows.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from textual_serve.server import Server

import stompy
from stompy_monitor.sources.base import Target

SESSIONS = 8
"""Browsers at a time; each has a program of its own, of some 50 MB."""
COOKIE = "stompy-monitor"

_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"
_HEADERS = {
    "Content-Security-Policy": f"{_POLICY}; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_LOCAL = ("127.0.0.1", "localhost", "[::1]")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Lets in who has the token, and nobody else.

    Args:
        token: what the address must hold.
        hosts: the values of ``Host`` that are ours.
    """

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        self.token = token
        self.hosts = hosts

    def refusal(self, request: web.Request) -> str:
        """Why a request may not come in; empty when it may."""
        if request.headers.get("Host", "") not in self.hosts:
            return "this is not the address under which the monitor is served"
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] not in self.hosts:
            return "another page may not use the monitor"
        shown = request.query.get("token") or request.cookies.get(COOKIE) or ""
        if not hmac.compare_digest(shown.encode(), self.token.encode()):
            return "the address must hold the token that the monitor printed"
        return ""

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request in, or not; the token goes from the address into a cookie."""
        refusal = self.refusal(request)
        if refusal:
            return web.Response(status=403, text=f"403: {refusal}\n", headers=_HEADERS)
        if "token" in request.query and request.path == "/":
            welcome = web.Response(status=303, headers={"Location": "/", **_HEADERS})
            welcome.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict")
            return welcome
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response


class GuardedServer(Server):
    """The server of textual-serve behind a `Door`.

    Args:
        command: what each browser gets.
        host, port: where to listen.
        door: who may come in.
    """

    def __init__(self, command: str, host: str, port: int, door: Door) -> None:
        super().__init__(command, host=host, port=port, title="stompy-monitor")
        self.door = door
        self.sessions = 0

    def initialize_logging(self) -> None:
        """Only what went wrong, and never a local variable: those hold secrets."""
        logging.basicConfig(level="WARNING", format="%(name)s: %(message)s")

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()
        app.middlewares.append(self.door.check)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Called before it listens; say where to go as soon as it does."""
        self._announcing = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        """Say where to go. The token is in the address, so it is not logged anywhere else."""
        while True:
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
        address = f"http://{self.host}:{self.port}/?token={self.door.token}"
        print(f"stompy-monitor serving {address}", flush=True)  # noqa: T201 -- it stands nowhere else

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One browser, if there are not too many.

        Raises:
            HTTPServiceUnavailable: there are.
        """
        if self.sessions >= SESSIONS:
            raise web.HTTPServiceUnavailable(text=f"{SESSIONS} browsers are enough\n")
        self.sessions += 1
        try:
            return await super().handle_websocket(request)
        finally:
            self.sessions -= 1


def address(where: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = where.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"--web takes [HOST:]PORT, not {where!r}")
    return (host if colon else "127.0.0.1") or "127.0.0.1", int(port)


def names_of(host: str, port: int) -> frozenset[str]:
    """The values of ``Host`` under which a server at an address is reached."""
    names = {host, *_LOCAL} if host in _LOCAL else {host}
    return frozenset(f"{name}:{port}" for name in names)


def command_line(look: Mapping[str, object], *, write: bool) -> str:
    """The shell command for one browser. No secret may stand in it."""
    words = [sys.executable, "-m", "stompy_monitor"]
    for name in ("view", "filter", "sort", "theme"):
        if look.get(name):
            words += [f"--{name}", str(look[name])]
    columns = look.get("columns")
    if isinstance(columns, tuple) and columns:
        words += ["--columns", ",".join(columns)]
    for name, option in (("ascii_only", "--ascii"), ("slow_link", "--slow-link")):
        if look.get(name):
            words.append(option)
    if not write or look.get("read_only"):
        words.append("--read-only")
    return shlex.join(words)


def serve(where: str, target: Target, look: Mapping[str, object], *, write: bool) -> int:
    """Serve the dashboard until interrupted.

    Raises:
        ValueError: the address cannot be understood.
        OSError: it cannot be listened at.
    """
    host, port = address(where)
    os.environ["STOMPY_URL"] = target.url
    for name, value in (("STOMPY_LOGIN", target.login), ("STOMPY_PASSCODE", target.passcode)):
        if value is not None:
            os.environ[name] = value
    door = Door(secrets.token_urlsafe(24), names_of(host, port))
    command = command_line(look, write=write) + _tls_words(target)
    GuardedServer(command, host, port, door).serve()
    return 0


def _tls_words(target: Target) -> str:
    tls = target.options.get("tls")
    if not isinstance(tls, stompy.TLS):
        return ""
    files = {
        "--ca-file": tls.ca_file,
        "--cert-file": tls.cert_file,
        "--key-file": tls.key_file,
        "--server-hostname": tls.server_hostname,
    }
    return "".join(f" {name} {shlex.quote(file)}" for name, file in files.items() if file)
