"""The tricks of the parser, each with and without: nanoseconds for a frame, and the ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from serving import form

from stompy.protocol.codec import FrameParser
from stompy.protocol.header_cache import ACK_RUN, HeadCache, HeadMemory, acks_of_one, plain_acks
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
    pairs = [(cost(data, with_it), cost(data, without)) for _ in range(7)]
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
        "ACKs: a run in one step",
        acks,
        lambda: parser(HeadCache()),
        lambda: parser(HeadCache(), runs=False),
    )
    run = b"".join([b"ACK\nid:170000000000000-%d\n\n\0" % i for i in range(10_000, 10_100)])
    compare_taking_apart("ACKs: those of one subscription taken apart", run)


if __name__ == "__main__":
    main()
