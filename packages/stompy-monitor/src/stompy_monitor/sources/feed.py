"""From the broker's admin topics into the model, over one ordinary client that reconnects.

The library connects, tries again for ever with growing random pauses, and brings the subscriptions
back. What is decided here is when that makes no sense: a refused login is final until somebody
acts, because trying on would lock the account, and so is a broker without admin topics. It knows
nothing of any screen.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import stompy.aio
from stompy import (
    ConnectionState,
    ErrorCode,
    FailedRound,
    OutcomeUnknown,
    Reconnect,
    StateChange,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPFrame,
    STOMPTimeout,
)
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
from stompy_monitor.model.model import CLUSTER, KINDS, Model
from stompy_monitor.model.row_set import Envelope, Gap, Row
from stompy_monitor.sources.base import ConnectionStatus, Phase, Target

FIRST_DELAY, MAX_DELAY = 0.5, 15.0
HEART_BEAT = (5_000, 5_000)

_UNUSED = {"rate", "session", "consumers_detail", "series"}
"""Fields that are not asked for: rates are computed here."""

_FINAL = (Phase.REFUSED, Phase.FORBIDDEN, Phase.FOREIGN)
"""Nothing is tried until somebody asks for it."""

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
        self._clustered = False
        self._followed = False
        self._wanted = asyncio.Event()
        self._client: stompy.aio.STOMPClient | None = None
        self._closing: asyncio.Task[None] | None = None

    # -- the connection --------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring data until cancelled: one client after the other, each until its end is final."""
        while True:
            self._wanted.clear()
            self._client = client = stompy.aio.STOMPClient()
            self._followed = False
            try:
                await self._follow_broker(client)
            except STOMPException as error:
                self._gave_up(error)
            finally:
                self._client = None
                with suppress(STOMPException):
                    await client.close()
            self.arrived.set()
            # Who looks at the screen has to act first. Any other end is not meant to be one.
            pause = None if self.status.phase in _FINAL else MAX_DELAY
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)
            self.status.phase, self.status.retry_at = Phase.CONNECTING, 0.0

    async def _follow_broker(self, client: stompy.aio.STOMPClient) -> None:
        login, passcode = self._login
        connected = await client.connect(
            self.target.url,
            login,
            passcode,
            host=self.target.vhost,
            timeout=self.target.timeout,
            heart_beat=HEART_BEAT,
            headers={"client-id": f"stompy-monitor-{platform.node()}-{os.getpid()}"},
            reconnect=Reconnect(
                delay=FIRST_DELAY,
                max_delay=MAX_DELAY,
                startup_attempts=None,
                keep_trying=self._round_failed,
            ),
            on_state=lambda change: self._state_changed(client, change),
            **self.target.options,  # type: ignore[arg-type]  # named by whoever made the target
        )
        if self._welcome(connected):
            await self._subscribe(client)
            await self._read(client)

    def _round_failed(self, failed: FailedRound) -> bool:
        """Note why there is no connection; say whether to go on trying."""
        status, error = self.status, failed.error
        status.attempt, status.words = failed.attempts, safe(as_options(str(error)))
        code = error.code if isinstance(error, STOMPError) else None
        if code == ErrorCode.AUTHENTICATION_FAILED:
            status.phase = Phase.REFUSED
        elif code == ErrorCode.ACCESS_REFUSED:
            status.phase = Phase.FORBIDDEN
        status.retry_at = asyncio.get_running_loop().time() + failed.pause
        self.arrived.set()
        cause = error.__cause__
        if isinstance(cause, STOMPError) and cause.code == ErrorCode.ACCESS_REFUSED:
            # Each topic would cost a round. A new client learns from CONNECTED what is left.
            self._wanted.set()
            return False
        return status.phase not in _FINAL

    def _state_changed(self, client: stompy.aio.STOMPClient, change: StateChange) -> None:
        if change.state is ConnectionState.RECONNECTING:
            self._lost(change.error)
            return
        connected = client.connected
        # Another broker may have come instead, or the user may have another role by now.
        if (
            change.previous is ConnectionState.RECONNECTING
            and connected is not None
            and not self._welcome(connected)
        ):
            self._closing = asyncio.create_task(client.close())

    def _lost(self, error: STOMPException | None) -> None:
        status = self.status
        status.words = safe(as_options(str(error or "the broker closed the connection")))
        if status.phase is Phase.LIVE:
            status.phase, status.retry_at = Phase.LOST, 0.0
            status.lost_at = time.time() * 1000
            self._note("monitor.lost", "warn", status.words)
        self.arrived.set()

    def _gave_up(self, error: STOMPException) -> None:
        if self.status.phase not in _FINAL:
            self._lost(error)

    def _welcome(self, connected: STOMPFrame) -> bool:
        """Learn from CONNECTED what we may do; false when there is nothing to see."""
        status = self.status
        status.server = safe(connected.get("server") or "")
        role = connected.get("admin-role")
        if role is None:
            status.phase = Phase.FOREIGN
            status.words = f"connected to {status.server or 'a broker'}; it offers no $SYS topics"
            return False
        clustered = "admin-broker" in connected.Headers
        if self._followed and clustered != self._clustered:
            return False  # what is followed was chosen for another broker: begin anew
        self._clustered = clustered
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
        for kind in ("broker", *KINDS, *([CLUSTER] if self._clustered else [])):
            await self._follow(client, kind)
        await client.subscribe(f"{TOPIC_PREFIX}event.>", id="event")
        self._followed = True

    async def _follow(self, client: stompy.aio.STOMPClient, kind: str) -> None:
        headers = {"interval": str(self.interval_ms)}
        if kind != "broker":
            headers |= {"format": "columns", "mode": "delta"}
            if not self.whole:
                known = field_names(Kind(kind), clustered=self._clustered)
                names = [name for name in known if name not in _UNUSED]
                headers["fields"] = ",".join(names)
        await client.subscribe(TOPIC_PREFIX + kind, id=kind, headers=headers)

    async def _read(self, client: stompy.aio.STOMPClient) -> None:
        loop = asyncio.get_running_loop()
        while (frame := await client.recv()) is not None:
            self.status.latest_at = loop.time()
            await self._take(client, frame, frame.get("subscription") or "")
            self.arrived.set()
            # Whoever else uses this loop has its turn between two pages.
            await asyncio.sleep(0)

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

    def _note(self, what: str, severity: str, reason: str) -> None:
        """An event of our own among those of the broker."""
        at = time.time() * 1000
        self.model.add_event({"type": what, "at": at, "severity": severity, "reason": reason})

    def retry_now(self) -> None:
        """Do not wait any longer for the next attempt."""
        self._wanted.set()
        if self._client is not None:
            self._client.retry_now()

    def log_in(self, login: str, passcode: str) -> None:
        """Try again with another login."""
        self._login = (login, passcode)
        self._wanted.set()

    # -- commands --------------------------------------------------------------------------------

    async def ask(self, request: Request, seconds: float = 10.0) -> Reply:
        """Send a command and wait for its answer.

        Raises:
            OutcomeUnknown: the connection ended or time ran out before the answer came.
        """
        client = self._client
        if client is None or self.status.phase is not Phase.LIVE:
            raise OutcomeUnknown("there is no connection")
        try:
            answer = await client.request(COMMAND_DESTINATION, request.to_json(), seconds)
            return Reply.from_json(answer.Body, answer.Headers)
        except STOMPTimeout:
            raise OutcomeUnknown(f"no answer to {request.cmd} within {seconds:g} s") from None
        except STOMPConnectionError as error:
            raise OutcomeUnknown("the connection ended before the answer came") from error
        except (STOMPException, SchemaError, RecursionError) as error:
            raise OutcomeUnknown(f"{request.cmd}: {error}") from error


def _user(url: str) -> str:
    try:
        return urlsplit(url).username or ""
    except ValueError:
        return ""


def complete(model: Model) -> bool:
    """Whether one set of every kind has come, all of one moment."""
    row_sets = [model.row_sets[kind] for kind in model.kinds]
    if not model.broker or not all(row_set.complete for row_set in row_sets):
        return False
    return len({row_set.tick for row_set in row_sets}) == 1


def as_snapshot(model: Model) -> Mapping[str, object]:
    """Everything that is known, as the contract of ``--once --json`` has it."""
    rows = {
        kind: [_with_rate(row) for row in model.row_sets[kind].rows.values() if not row.own]
        for kind in model.kinds
    }
    return {"broker": model.broker, **rows}


def _with_rate(row: Row) -> dict[str, object]:
    """The fields of a row; its rate is ours where the broker does not know one yet."""
    values = row.as_dict()
    if row.row_set.rate_names and values.get("rate") is None and None not in row.rates:
        values["rate"] = {name: row.value(f"rate.{name}") or 0.0 for name in ("in", "out", "ack")}
    return values
