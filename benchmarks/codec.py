"""The tricks of reading and writing, with and without: nanoseconds a frame, and the ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from serving import form

from stompy.protocol.client import ClientProtocol
from stompy.protocol.codec import FrameParser, encode_frame
from stompy.protocol.head_memory import HeadMemory
from stompy.protocol.header_cache import ACK_RUN, HeadCache, acks_of_one, plain_acks
from stompy.protocol.headers import Version
from stompy.protocol.limits import DEFAULT_LIMITS
from stompy.protocol.message_heads import MessageHeads
from stompy.protocol.send_heads import SendHeads

COUNT = 50_000
CHUNK = 256 * 1024


class RememberAtOnce(HeadCache):
    """Keeps a head the first time it is seen."""

    def remember(self, head):  # type: ignore[no-untyped-def]
        super().remember(head)
        super().remember(head)


class NoRuns(MessageHeads):
    """Looks at each head by itself."""

    def read_run(self, data, position, most, frames):  # type: ignore[no-untyped-def]
        return position


def writing(write: Callable[[int], bytes]) -> float:
    """What it costs to write a frame."""
    start = time.process_time()
    for number in range(COUNT):
        write(number)
    return (time.process_time() - start) / COUNT * 1e9


def client() -> ClientProtocol:
    protocol = ClientProtocol()
    protocol.connect({})
    protocol.receive_data(b"CONNECTED\nversion:1.2\n\n\0", 0.0)
    return protocol


def parser(cache: HeadMemory | None, *, runs: bool = True) -> FrameParser:
    made = FrameParser(version=Version.V1_2)
    made.proceed(Version.V1_2, DEFAULT_LIMITS, memory=cache)
    made._takes_ack_runs = runs and isinstance(cache, HeadCache)
    return made


def cost(data: bytes, make: Callable[[], FrameParser]) -> float:
    frames, subject = 0, make()
    start = time.process_time()
    for at in range(0, len(data), CHUNK):
        for head, body in subject.feed(data[at : at + CHUNK]):
            frames += len(plain_acks(body)) if head is ACK_RUN else 1
    assert frames == COUNT
    return (time.process_time() - start) / COUNT * 1e9


def compare(
    title: str, data: bytes, with_it: Callable[[], FrameParser], without: Callable[[], FrameParser]
) -> None:
    compare_costs(title, lambda: cost(data, with_it), lambda: cost(data, without))


def compare_costs(title: str, with_it: Callable[[], float], without: Callable[[], float]) -> None:
    pairs = [(with_it(), without()) for _ in range(7)]
    fast, slow = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    print(f"{title:48} {fast:7.0f} ns {slow:7.0f} ns {slow / fast:6.2f}")


def compare_taking_apart(title: str, run: bytes) -> None:
    count, of_one, of_all = run.count(b"\0"), [], []
    for _ in range(7):
        for times, take in (
            (of_one, lambda: acks_of_one(run)),
            (of_all, lambda: [(tag, int(number)) for tag, number in plain_acks(run)]),
        ):
            start = time.process_time()
            for _ in range(COUNT // count):
                take()
            times.append((time.process_time() - start) / COUNT * 1e9)
    fast, slow = median(of_one), median(of_all)
    print(f"{title:48} {fast:7.0f} ns {slow:7.0f} ns {slow / fast:6.2f}")


def send(extra: bytes = b"") -> bytes:
    head = b"SEND\ndestination:/queue/bench\ncontent-type:text/plain\n%bcontent-length:100\n\n"
    return head % extra + b"x" * 100 + b"\0"


def main() -> None:
    repeated = send() * COUNT
    unique = b"".join([send(b"correlation-id:c-%d\n" % i) for i in range(COUNT)])
    receipts = b"".join([send(b"receipt:r-%d\n" % i) for i in range(COUNT)])
    acks = b"".join([b"ACK\nid:1-%d\n\n\0" % i for i in range(COUNT)])
    message = (
        b"MESSAGE\nsubscription:0\nredelivered:false\ndelivery-count:1\nack:1-%d\nmessage-id:%d\n"
        b"timestamp:1795458624778\ndestination:/queue/bench\ncontent-type:text/plain\n"
        b"content-length:100\n\n" + b"x" * 100 + b"\0"
    )
    messages = b"".join([message % (i, 10**18 + i) for i in range(COUNT)])
    print(form())
    print(f"{'':48} {'with':>10} {'without':>10} {'gain':>6}")
    compare("repeated blocks: cache", repeated, lambda: parser(HeadCache()), lambda: parser(None))
    compare(
        "unique blocks: remembered from the second time",
        unique,
        lambda: parser(HeadCache()),
        lambda: parser(RememberAtOnce()),
    )
    compare(
        "unique blocks: read in one step",
        unique,
        lambda: parser(SendHeads(Version.V1_2, DEFAULT_LIMITS, (), ())),
        lambda: parser(HeadCache()),
    )
    compare(
        "receipts: cut out of the block",
        receipts,
        lambda: parser(HeadCache()),
        lambda: parser(None),
    )
    compare(
        "messages: what their heads have in common",
        messages,
        lambda: parser(MessageHeads()),
        lambda: parser(None),
    )
    compare(
        "messages: a run compared where it lies",
        messages,
        lambda: parser(MessageHeads()),
        lambda: parser(NoRuns()),
    )
    compare(
        "ACKs: a run in one step",
        acks,
        lambda: parser(HeadCache()),
        lambda: parser(HeadCache(), runs=False),
    )
    run = b"".join([b"ACK\nid:170000000000000-%d\n\n\0" % i for i in range(10_000, 10_100)])
    compare_taking_apart("ACKs: those of one subscription taken apart", run)
    protocol, body = client(), b"x" * 100
    same = {"destination": "/queue/bench", "content-type": "text/plain"}
    compare_costs(
        "written SEND: headers that repeat",
        lambda: writing(lambda _: protocol.send("SEND", same, body)),
        lambda: writing(lambda _: encode_frame("SEND", same, body)),
    )
    compare_costs(
        "written SEND: headers that do not",
        lambda: writing(lambda i: protocol.send("SEND", {**same, "n": str(i)}, body)),
        lambda: writing(lambda i: encode_frame("SEND", {**same, "n": str(i)}, body)),
    )
    compare_costs(
        "written ACK",
        lambda: writing(lambda i: protocol.settle("ACK", f"1-{i}")),
        lambda: writing(lambda i: protocol.send("ACK", {"id": f"1-{i}"})),
    )


if __name__ == "__main__":
    main()
