"""From the broker's admin topics into the model, over one ordinary STOMP connection.

It connects, subscribes to what its role allows, and when the connection ends it tries again for
ever, with growing delays. Two ends are final until somebody acts: a refused login, because trying
on would lock the account, and a broker without admin topics. It knows nothing of any screen.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import stompy
import stompy.aio
from stompy import STOMPError, STOMPException, STOMPFrame
from stompy.admin import (
    COMMAND_DESTINATION,
    TOPIC_PREFIX,
    Kind,
    Reply,
    Request,
    Role,
    SchemaError,
    field_names,
)
from stompy.transport.tls import as_options
from stompy_monitor.model.escape import safe
from stompy_monitor.model.model import KINDS, Model
from stompy_monitor.model.row_set import Envelope, Gap, Row
from stompy_monitor.sources.base import ConnectionStatus, OutcomeUnknown, Phase, Target

FIRST_DELAY, MAX_DELAY = 0.5, 15.0
HEART_BEAT = (5_000, 5_000)
REPLIES = "/temp-queue/monitor"

_UNUSED = {"rate", "session", "consumers_detail", "series"}
"""Fields that are not asked for: rates are computed here."""

Tap = Callable[[Envelope], None]


def without_secret(url: str) -> str:
    """A URL that may be shown: the passcode is masked."""
    try:
        parts = urlsplit(url)
        secret = parts.password
    except ValueError:
        return safe(url)
    if secret is None:
        return safe(url)
    host = parts.netloc.rpartition("@")[2]
    return safe(urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}")))


class Feed:
    """Keeps a model up to date.

    Args:
        target: the broker.
        model: what the data are for.
        interval_ms: how often the broker shall report.
        tap: gets everything that came, after the model took it.
        whole: whether to ask also for what the screens do not need.
    """

    def __init__(
        self,
        target: Target,
        model: Model,
        *,
        interval_ms: int = 1000,
        tap: Tap | None = None,
        whole: bool = False,
    ) -> None:
        self.target = target
        self.model = model
        self.interval_ms = interval_ms
        self.tap = tap
        self.whole = whole
        login = target.login or _user(target.url)
        self.status = ConnectionStatus(url=without_secret(target.url), user=safe(login))
        self.arrived = asyncio.Event()
        self._login = (target.login, target.passcode)
        self._wake = asyncio.Event()
        self._client: stompy.aio.STOMPClient | None = None
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._numbers = count(1)

    # -- the connection --------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring data until cancelled; it returns by itself only where trying on is useless."""
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            self.status.attempt += 1
            try:
                await self._session()
                self._ended("the broker closed the connection")
            except STOMPError as error:
                self._failed(error)
            except (STOMPException, OSError) as error:
                self._ended(as_options(str(error)))
            finally:
                self._fail_waiting()
            self.arrived.set()
            if self.status.phase in (Phase.REFUSED, Phase.FORBIDDEN, Phase.FOREIGN):
                await self._sleep(None)
                delay = FIRST_DELAY
                self.status.phase = Phase.CONNECTING
                continue
            if time.monotonic() - began > MAX_DELAY:
                delay = FIRST_DELAY
            await self._sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, MAX_DELAY)

    async def _sleep(self, seconds: float | None) -> None:
        """Wait, unless somebody wants it now."""
        self._wake.clear()
        loop = asyncio.get_running_loop()
        self.status.retry_at = loop.time() + (seconds or 0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _session(self) -> None:
        login, passcode = self._login
        client = stompy.aio.STOMPClient()
        try:
            connected = await client.connect(
                self.target.url,
                login,
                passcode,
                host=self.target.vhost,
                timeout=self.target.timeout,
                heart_beat=HEART_BEAT,
                headers={"client-id": f"stompy-monitor-{platform.node()}-{os.getpid()}"},
                **self.target.options,  # type: ignore[arg-type]  # named by whoever made the target
            )
            self._client = client
            if self._welcome(connected):
                await self._subscribe(client)
                await self._read(client)
        finally:
            self._client = None
            with suppress(STOMPException):
                await client.close()

    def _welcome(self, connected: STOMPFrame) -> bool:
        """Learn from CONNECTED what we may do; false when there is nothing to see."""
        status = self.status
        status.server = safe(connected.get("server") or "")
        role = connected.get("admin-role")
        if role is None:
            status.phase = Phase.FOREIGN
            status.words = f"connected to {status.server or 'a broker'}; it offers no $SYS topics"
            return False
        status.role = Role(role) if role in Role.__members__.values() else Role.NONE
        status.user = safe(connected.get("user-name") or self._login[0] or _user(self.target.url))
        if status.role is Role.NONE:
            status.phase = Phase.FORBIDDEN
            status.words = (
                f"the user “{status.user or 'anonymous'}” has no role here; "
                "the broker's section [roles] must name it under monitor, operator or admin"
            )
            return False
        again = status.phase is Phase.LOST
        status.phase, status.attempt, status.words = Phase.LIVE, 0, ""
        if again:
            self._note("monitor.reconnected", "info", "")
        return True

    async def _subscribe(self, client: stompy.aio.STOMPClient) -> None:
        await client.subscribe(REPLIES, id="replies")
        for kind in ("broker", *KINDS):
            await self._follow(client, kind)
        await client.subscribe(f"{TOPIC_PREFIX}event.>", id="event")

    async def _follow(self, client: stompy.aio.STOMPClient, kind: str) -> None:
        headers = {"interval": str(self.interval_ms)}
        if kind != "broker":
            headers |= {"format": "columns", "mode": "delta"}
            if not self.whole:
                names = [name for name in field_names(Kind(kind)) if name not in _UNUSED]
                headers["fields"] = ",".join(names)
        await client.subscribe(TOPIC_PREFIX + kind, id=kind, headers=headers)

    async def _read(self, client: stompy.aio.STOMPClient) -> None:
        loop = asyncio.get_running_loop()
        while (frame := await client.recv()) is not None:
            self.status.latest_at = loop.time()
            subscription = frame.get("subscription")
            if subscription == "replies":
                self._answered(frame)
            else:
                await self._take(client, frame, subscription or "")
            self.arrived.set()
            # Whoever else uses this loop has its turn between two pages.
            await asyncio.sleep(0)
        if client.close_reason is not None:
            raise client.close_reason

    async def _take(self, client: stompy.aio.STOMPClient, frame: STOMPFrame, kind: str) -> None:
        own = frame.get("self")
        if own and own != self.model.own:
            self.model.know_own(safe(own))
        envelope = json.loads(frame.Body, parse_constant=lambda _: None)
        try:
            self.model.apply(envelope)
        except Gap:
            await client.unsubscribe(kind)
            await self._follow(client, kind)
            return
        if self.tap is not None:
            self.tap(envelope)

    # -- how it ends -----------------------------------------------------------------------------

    def _failed(self, error: STOMPError) -> None:
        code = error.code
        if code == stompy.ErrorCode.AUTHENTICATION_FAILED:
            self.status.phase, self.status.words = Phase.REFUSED, safe(as_options(str(error)))
        elif code == stompy.ErrorCode.ACCESS_REFUSED:
            self.status.phase, self.status.words = Phase.FORBIDDEN, safe(str(error))
        else:
            self._ended(as_options(str(error)))

    def _ended(self, words: str) -> None:
        status = self.status
        if status.phase in (Phase.FOREIGN, Phase.FORBIDDEN):
            return
        status.words = safe(words)
        if status.phase is Phase.LIVE:
            status.phase = Phase.LOST
            status.lost_at = time.time() * 1000
            self._note("monitor.lost", "warn", words)

    def _note(self, what: str, severity: str, reason: str) -> None:
        """An event of our own among those of the broker."""
        at = time.time() * 1000
        self.model.add_event({"type": what, "at": at, "severity": severity, "reason": reason})

    def retry_now(self) -> None:
        """Do not wait any longer for the next attempt."""
        self._wake.set()

    def log_in(self, login: str, passcode: str) -> None:
        """Try again with another login."""
        self._login = (login, passcode)
        self._wake.set()

    # -- commands --------------------------------------------------------------------------------

    async def ask(self, request: Request, seconds: float = 10.0) -> Reply:
        """Send a command and wait for its last answer.

        Raises:
            OutcomeUnknown: the connection ended or time ran out before the answer came.
        """
        client = self._client
        if client is None or self.status.phase is not Phase.LIVE:
            raise OutcomeUnknown("there is no connection")
        number = f"m-{next(self._numbers)}"
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        headers = {"reply-to": REPLIES, "correlation-id": number}
        try:
            await client.message(COMMAND_DESTINATION, request.to_json(), headers=headers)
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            raise OutcomeUnknown(f"no answer to {request.cmd} within {seconds:g} s") from None
        except (STOMPException, OSError) as error:
            raise OutcomeUnknown(f"{request.cmd}: {error}") from error
        finally:
            self._waiting.pop(number, None)

    def _answered(self, frame: STOMPFrame) -> None:
        answer = self._waiting.get(frame.get("correlation-id") or "")
        if answer is None or answer.done():
            return
        try:
            reply = Reply.from_json(frame.Body, frame.Headers)
        except (SchemaError, RecursionError) as error:
            answer.set_exception(OutcomeUnknown(str(error)))
            return
        if reply.final:
            answer.set_result(reply)

    def _fail_waiting(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(OutcomeUnknown("the connection ended before the answer came"))


def _user(url: str) -> str:
    try:
        return urlsplit(url).username or ""
    except ValueError:
        return ""


def complete(model: Model) -> bool:
    """Whether one set of every kind has come, all of one moment."""
    row_sets = [model.row_sets[kind] for kind in KINDS]
    if not model.broker or not all(row_set.complete for row_set in row_sets):
        return False
    return len({row_set.tick for row_set in row_sets}) == 1


def as_snapshot(model: Model) -> Mapping[str, object]:
    """Everything that is known, as the contract of ``--once --json`` has it."""
    rows = {
        kind: [_with_rate(row) for row in model.row_sets[kind].rows.values() if not row.own]
        for kind in KINDS
    }
    return {"broker": model.broker, **rows}


def _with_rate(row: Row) -> dict[str, object]:
    """The fields of a row; its rate is ours where the broker does not know one yet."""
    values = row.as_dict()
    if row.row_set.rate_names and values.get("rate") is None and None not in row.rates:
        values["rate"] = {name: row.value(f"rate.{name}") or 0.0 for name in ("in", "out", "ack")}
    return values
