"""A load on a broker: clients that send, receive, ask and answer, each on a thread of its own.

What holds at all times:

* A load is bounded by its number of messages and by its time, whatever comes first. After that
  nothing more is sent; what is under way is taken out, for the same time and some seconds at most.
* Whoever fails ends the load for all, and `Load.run` raises what it was.
* Destinations have names of their own, so that nobody else's messages are touched.
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter, perf_counter_ns

from stompy.cli.histogram import Histogram
from stompy.cli.plan import Flow, LoadKind, LoadResult, Plan, Tally
from stompy.errors import STOMPConnectionError, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.dialects import Dialect, dialect_of
from stompy.sync.client import STOMPClient

STAMP = struct.Struct(">Q")
"""How a message says when it was sent: the beginning of its body."""

_READY_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_DRAIN_SECONDS = 3.0
"""When nothing has come for so long after the last message was sent, nothing more will."""
_LOOK_SECONDS = 0.1

Connect = Callable[..., STOMPClient]
Watch = Callable[[float, str], None]
Part = Callable[[int], None]


class Load:
    """Runs one plan, once.

    Args:
        plan: what to run.
        connect: makes a connected client; takes headers of CONNECT as keywords.
    """

    def __init__(self, plan: Plan, connect: Connect) -> None:
        self._plan = plan
        self._connect = connect
        self._token = uuid.uuid4().hex[:12]
        prefix = "/topic/" if plan.is_topic else "/queue/"
        self._destinations = [
            f"{prefix}stompy.bench.{self._token}.{number}" for number in range(plan.destinations)
        ]
        self._copies = [plan.copies(number) for number in range(plan.destinations)]
        self._sent = [Tally() for _ in range(plan.producers)]
        self._received = [Tally() for _ in range(plan.consumers)]
        self._ready = threading.Barrier(1)
        self._stop = threading.Event()
        self._began = 0.0
        self._failure: BaseException | None = None

    # -- the whole -------------------------------------------------------------------------------

    def run(self, watch: Watch) -> LoadResult:
        """Run the load to its end.

        Args:
            watch: called now and then with the share that is done, and a word about the rate.

        Raises:
            STOMPError: the broker cannot be reached, hung up or refused.
            STOMPTimeout: it did not answer.
        """
        run = {LoadKind.DURABLE: self._run_durable, LoadKind.REQUEST: self._run_requests}
        return run.get(self._plan.kind, self._run_messages)(watch)

    def _run_messages(self, watch: Watch) -> LoadResult:
        self._play(self._producers(self._produce), self._consumers(self._consume), watch)
        times = Histogram.merged(tally.times for tally in self._received)
        return self._outcome(self._began, times)

    def _run_requests(self, watch: Watch) -> LoadResult:
        self._play(self._producers(self._ask), self._consumers(self._answer), watch)
        times = Histogram.merged(tally.times for tally in self._sent)
        # An answer comes back to who asked.
        flow = self._flow(self._sent, self._began)
        return LoadResult(self._plan, flow, flow, 0, times)

    def _run_durable(self, watch: Watch) -> LoadResult:
        for number in range(self._plan.consumers):
            self._subscriber(number).disconnect()
        try:
            self._play(self._producers(self._produce), [], watch)
            sent = self._flow(self._sent, self._began)
            self._play([], self._consumers(self._consume), watch)
        finally:
            for number in range(self._plan.consumers):
                self._end_durably(number)
        # How long a message waited for who was away says nothing about the broker.
        received = self._outcome(self._began, Histogram())
        return LoadResult(self._plan, sent, received.received, received.missing, Histogram())

    def _outcome(self, began: float, times: Histogram) -> LoadResult:
        received = self._flow(self._received, began)
        missing = self._due - received.messages
        return LoadResult(self._plan, self._flow(self._sent, began), received, missing, times)

    @staticmethod
    def _flow(tallies: Sequence[Tally], began: float) -> Flow:
        ended = max(tally.ended for tally in tallies)
        return Flow(
            sum(tally.messages for tally in tallies),
            sum(tally.size for tally in tallies),
            max(0.0, ended - began),
        )

    @property
    def _due(self) -> int:
        """Deliveries that follow from what was sent."""
        return sum(tally.due for tally in self._sent)

    # -- threads ---------------------------------------------------------------------------------

    def _producers(self, part: Part) -> list[threading.Thread]:
        return self._threads(part, self._plan.producers)

    def _consumers(self, part: Part) -> list[threading.Thread]:
        return self._threads(part, self._plan.consumers)

    def _threads(self, part: Part, count: int) -> list[threading.Thread]:
        return [
            threading.Thread(target=self._guarded, args=(part, number), name=f"bench {number}")
            for number in range(count)
        ]

    def _guarded(self, part: Part, number: int) -> None:
        try:
            part(number)
        except threading.BrokenBarrierError:
            pass  # somebody else has failed
        except BaseException as error:
            self._failure = self._failure or error
            self._stop.set()
            self._ready.abort()

    def _play(
        self,
        producers: list[threading.Thread],
        consumers: list[threading.Thread],
        watch: Watch,
    ) -> None:
        """Run producers and consumers to their end, all of them beginning at once."""
        threads = [*consumers, *producers]
        self._stop.clear()
        self._ready = threading.Barrier(len(threads) + 1, self._begin, _READY_SECONDS)
        for thread in threads:
            thread.start()
        try:
            self._wait_until_ready()
            self._wait(producers, watch)
            self._drain(consumers, watch)
        finally:
            self._stop.set()
            self._ready.abort()
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> None:
        self._began = perf_counter()

    def _wait_until_ready(self) -> None:
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            if self._failure is None:
                self._failure = STOMPTimeout(f"not all clients were ready in {_READY_SECONDS:g} s")

    def _wait(self, producers: list[threading.Thread], watch: Watch) -> None:
        last = 0
        for thread in producers:
            while thread.is_alive():
                thread.join(_LOOK_SECONDS)
                sent = sum(tally.messages for tally in self._sent)
                time_share = (perf_counter() - self._began) / self._plan.seconds
                rate = (sent - last) / _LOOK_SECONDS
                watch(max(sent / self._plan.messages, time_share), f"{rate:,.0f} messages/s")
                last = sent

    def _drain(self, consumers: list[threading.Thread], watch: Watch) -> None:
        """Give consumers the time to take what was sent, while they get on with it."""
        if self._plan.kind is LoadKind.REQUEST:
            return
        last, progress_at = -1, perf_counter()
        end = progress_at + self._plan.seconds + _DRAIN_SECONDS
        while self._failure is None and any(thread.is_alive() for thread in consumers):
            taken, now = sum(tally.messages for tally in self._received), perf_counter()
            if taken > last:
                last, progress_at = taken, now
            if taken >= self._due or now > min(end, progress_at + _DRAIN_SECONDS):
                return
            watch(taken / self._due, "taking what was sent")
            self._stop.wait(_LOOK_SECONDS / 10)

    @property
    def _time_is_up(self) -> bool:
        return perf_counter() - self._began > self._plan.seconds

    # -- who sends -------------------------------------------------------------------------------

    def _produce(self, number: int) -> None:
        plan, tally = self._plan, self._sent[number]
        with self._connect() as client:
            headers = self._headers_for(client)
            outstanding: deque[str] = deque()
            self._ready.wait()
            for count in range(plan.quota(number)):
                if self._stop.is_set() or self._time_is_up or not self._keep_pace(count):
                    break
                chosen = (number + count) % plan.destinations
                body = self._body(plan.sizes[count % len(plan.sizes)])
                receipt = client.message(
                    self._destinations[chosen],
                    body,
                    headers=headers,
                    receipt=bool(plan.window),
                )
                tally.messages += 1
                tally.size += len(body)
                tally.due += self._copies[chosen]
                if receipt is not None:
                    outstanding.append(receipt)
                    if len(outstanding) >= plan.window:
                        client.wait_for_receipt(outstanding.popleft(), _ANSWER_SECONDS)
            for receipt in outstanding:
                client.wait_for_receipt(receipt, _ANSWER_SECONDS)
            if not plan.window:
                _synchronize(client)
            tally.ended = perf_counter()

    def _headers_for(self, client: STOMPClient) -> dict[str, str]:
        persistent = self._plan.persistent
        return {} if persistent is None else _dialect(client).persistence_headers(persistent)

    def _keep_pace(self, count: int) -> bool:
        """Wait until the message of that number is due; false when the load ends before."""
        if not self._plan.rate:
            return True
        wait = self._began + count / self._plan.rate - perf_counter()
        return wait <= 0 or not self._stop.wait(wait)

    @staticmethod
    def _body(size: int) -> bytes:
        return STAMP.pack(perf_counter_ns()).ljust(size, b"x")

    # -- who receives ----------------------------------------------------------------------------

    def _consume(self, number: int) -> None:
        tally, settles = self._received[number], self._plan.ack is not AckMode.AUTO
        every = self._plan.ack_every
        with self._subscriber(number) as client:
            last: STOMPFrame | None = None
            self._ready.wait()
            while (frame := self._next(client)) is not None:
                (sent_at,) = STAMP.unpack_from(frame.Body)
                tally.times.record(perf_counter_ns() - sent_at)
                tally.messages += 1
                tally.size += len(frame.Body)
                tally.ended = perf_counter()
                last = frame
                if settles and tally.messages % every == 0:
                    client.ack(frame)
            if settles and last is not None and tally.messages % every:
                client.ack(last)

    def _next(self, client: STOMPClient) -> STOMPFrame | None:
        """The next message; None when the load has ended."""
        while not self._stop.is_set():
            try:
                frame = client.recv(timeout=_LOOK_SECONDS)
            except STOMPTimeout:
                continue
            if frame is None:
                raise client.close_reason or STOMPConnectionError("the connection was closed")
            return frame
        return None

    def _subscriber(self, number: int) -> STOMPClient:
        """A client that is subscribed to all that this consumer takes from."""
        durable = self._plan.kind is LoadKind.DURABLE
        owner = {"client_id": self._name(number)} if durable else {}
        client = self._connect(**owner)
        dialect = _dialect(client)
        for source in self._plan.sources(number):
            headers = dialect.prefetch_headers(self._plan.prefetch)
            if durable:
                name = f"{self._name(number)}.{source}"
                headers |= dialect.durable_headers(name, **owner)
            destination = self._destinations[source]
            client.subscribe(
                destination, self._plan.ack, False, id=str(source), headers=headers, receipt=True
            )
        return client

    def _end_durably(self, number: int) -> None:
        with self._subscriber(number) as client:
            for source in self._plan.sources(number):
                endings = _dialect(client).durable_ending(
                    str(source), f"{self._name(number)}.{source}", client_id=self._name(number)
                )
                for ending in endings:
                    receipt = client.send("UNSUBSCRIBE", ending, receipt=True)
                    assert receipt is not None
                    client.wait_for_receipt(receipt, _ANSWER_SECONDS)

    def _name(self, number: int) -> str:
        return f"bench-{self._token}-{number}"

    # -- who asks and who answers ----------------------------------------------------------------

    def _ask(self, number: int) -> None:
        plan, tally = self._plan, self._sent[number]
        with self._connect() as client:
            headers = self._headers_for(client)
            self._ready.wait()
            for count in range(plan.quota(number)):
                if self._stop.is_set() or self._time_is_up or not self._keep_pace(count):
                    break
                chosen = (number + count) % plan.destinations
                body = self._body(plan.sizes[count % len(plan.sizes)])
                began = perf_counter_ns()
                client.request(
                    self._destinations[chosen],
                    body,
                    timeout=_ANSWER_SECONDS,
                    headers=headers,
                )
                tally.times.record(perf_counter_ns() - began)
                tally.messages += 1
                tally.size += len(body)
                tally.ended = perf_counter()

    def _answer(self, number: int) -> None:
        tally, settles = self._received[number], self._plan.ack is not AckMode.AUTO
        with self._subscriber(number) as client:
            self._ready.wait()
            while (request := self._next(client)) is not None:
                headers = {"correlation-id": request.Headers.get("correlation-id", "")}
                client.message(request["reply-to"], request.Body, headers=headers)
                if settles:
                    client.ack(request)
                tally.messages += 1


def _dialect(client: STOMPClient) -> Dialect:
    frame = client.connected_frame
    return dialect_of(None if frame is None else frame.get("server"))


def _synchronize(client: STOMPClient) -> None:
    """Wait until the broker has taken all that was sent before."""
    receipt = client.send("BEGIN", transaction="bench", receipt=True)
    assert receipt is not None
    client.wait_for_receipt(receipt, None)
