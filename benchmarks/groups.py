"""What message groups cost: many of them over several consumers, and one that is held back.

Ratios are to the same load with a header of the same size that names no group, in the same run and
in turn, so that a noisy machine disturbs both.
"""

from __future__ import annotations

import argparse
import re
import selectors
from contextlib import ExitStack
from statistics import median

import load
from serving import broker, form, serving

GROUPS = 10_000
CONSUMERS = 10
HELD = 3_000
"""Messages of the group that is held back."""

_ACK = re.compile(rb"\nack:([^\n]+)")


def frames(messages: int, header: bytes, values: int, queue: str) -> list[bytes]:
    """SENDs of so many values in turn, some hundred in a piece."""
    one = [load.send_frame(queue, b"x" * 100, b"%b:g-%d\n" % (header, n)) for n in range(values)]
    every = [one[n % values] for n in range(messages)]
    return [b"".join(every[at : at + 500]) for at in range(0, messages, 500)]


def share(port: int, pid: int, queue: str, pieces: list[bytes], messages: int, ack: str) -> float:
    """Messages a second of processor time, sent by one and taken by several."""
    with ExitStack() as stack:
        sender = stack.enter_context(load.Peer(port))
        takers = [stack.enter_context(load.Peer(port)) for _ in range(CONSUMERS)]
        for taker in takers:
            taker.subscribe(queue, ack)
        result = load.measured(pid, messages, lambda: _run(sender, takers, pieces, messages, ack))
    return result.per_cpu_second


def _run(
    sender: load.Peer, takers: list[load.Peer], pieces: list[bytes], messages: int, ack: str
) -> None:
    left, waiting = messages, list(reversed(pieces))
    tails = dict.fromkeys(takers, b"")
    with selectors.DefaultSelector() as selector:
        for taker in takers:
            selector.register(taker.socket, selectors.EVENT_READ, taker)
        sent = 0
        while left > 0:
            # As far ahead as a queue in use is, and no further.
            while waiting and sent - (messages - left) < 5_000:
                sender.send(waiting.pop())
                sent += 500
            for key, _ in selector.select():
                taker: load.Peer = key.data
                data = taker.chunk()
                left -= data.count(b"\0")
                if ack != "auto":
                    whole, _, tails[taker] = (tails[taker] + data).rpartition(b"\0")
                    ids = _ACK.findall(whole)
                    taker.send(b"".join([b"ACK\nid:%b\n\n\0" % one for one in ids]))
        if ack != "auto":
            for taker in takers:
                taker.leave()


def hold(port: int, queue: str) -> None:
    """Have a group held back, with many messages."""
    with load.Peer(port) as peer:
        peer.send(load.send_frame(queue, b"x", b"JMSXGroupID:slow\n"))
        peer.send(load.subscribe_frame(queue, "client-individual"))
        ack = _ACK.findall(peer.expect(b"MESSAGE"))[0]
        peer.send(b"NACK\nid:%b\ndelay:600000\n\n\0" % ack)
        for piece in frames(HELD, b"JMSXGroupID:slow\nx", 1, queue):
            peer.send(piece)
        peer.leave()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=50_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    options = parser.parse_args()
    n, rounds = options.n, options.rounds
    print(f"{form()}; {n} messages, medians of {rounds} runs")
    print(f"\n{'with groups, to without':60} {'ratio':>6} {'wanted':>7}")
    with serving(*broker()) as (port, pid):
        for ack in ("auto", "client-individual"):
            runs: dict[bytes, list[float]] = {b"x-other-one": [], b"JMSXGroupID": []}
            for at in range(rounds):
                for name, rates in runs.items():
                    queue = f"/queue/{ack}.{name.decode()}.{at}"
                    pieces = frames(n, name, GROUPS, queue)
                    rates.append(share(port, pid, queue, pieces, n, ack))
            plain, grouped = [median(rates) for rates in runs.values()]
            label = f"{GROUPS:,} groups, {CONSUMERS} consumers, ack:{ack}"
            print(f"{label:60} {grouped / plain:6.2f} {0.6:7.2f}   ({plain:,.0f} {grouped:,.0f})")
        found: dict[bool, list[float]] = {False: [], True: []}
        for at in range(rounds):
            for held, rates in found.items():
                queue = f"/queue/held.{held}.{at}"
                if held:
                    hold(port, queue)
                pieces = frames(n, b"JMSXGroupID", GROUPS, queue)
                rates.append(share(port, pid, queue, pieces, n, "client-individual"))
        without, beside = [median(rates) for rates in found.values()]
        label = f"{GROUPS:,} groups beside one of {HELD:,} that is held, to without that one"
        print(f"{label:60} {beside / without:6.2f} {0.95:7.2f}   ({without:,.0f} {beside:,.0f})")


if __name__ == "__main__":
    main()
