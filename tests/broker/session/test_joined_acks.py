"""ACKs, NACKs and transactions over several queues, against a model of what one client holds."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker.routing.test_joined_queues import at_once, publish
from tests.support.house import Time, figures, make_router, raise_refusal

from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.message import Message
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.joined_queues import JoinedQueues, by_queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "ack", "nack", "claim", "commit", "abort", "run"]),
        st.integers(0, 7),
    ),
    max_size=60,
)


def subscribe(
    router: Router, queues: list[Queue], mode: AckMode, prefetch: int, version: Version
) -> AckSubscription:
    """A client of all these queues whose socket has room for everything."""
    numbers = count(1000)
    several = JoinedQueues("x", queues, (), router.work_budget, lambda: next(numbers), at_once)

    def write() -> None:
        output.take()
        output.burst = 0

    output = OutputBuffer(lambda: None, write)
    holder = AckSubscription(
        "0", several, output, version, print, router=router, tag=1, mode=mode, prefetch=prefetch
    )
    several.attach(holder, raise_refusal)
    holder.begin()
    return holder


@pytest.mark.parametrize("version", [Version.V1_1, Version.V1_2])
@pytest.mark.parametrize("mode", [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL])
@given(st.sampled_from([0, 1, 2, 5]), STEPS)
def test_nothing_is_lost_settled_twice_or_beyond_the_credit(
    version: Version, mode: AckMode, prefetch: int, steps: list[tuple[str, int]]
) -> None:
    router = make_router(Time())
    queues = [router.queue(name) for name in "abc"]
    holder = subscribe(router, queues, mode, prefetch, version)
    several = holder.queue
    claims: list[list[int]] = []
    sent = settled = 0
    for what, value in steps:
        unacked = list(holder.unacked)
        if what == "publish":
            sent += 1
            publish(router, queues[value % 3], str(sent))
        elif what in ("ack", "nack", "claim") and unacked:
            number = unacked[value % len(unacked)]
            below = [n for n in unacked if n <= number]
            expected = sorted(below) if mode is AckMode.CLIENT else [number]
            assert len(holder.covered(number)) == len(expected)
            numbers = holder.claim(number)
            assert numbers == expected
            if what == "claim":
                claims.append(numbers)
            else:
                rejection = Rejection(requeue=False) if what == "nack" else None
                settled += len(numbers)
                holder.settle_in_steps(numbers, rejection, None)
        elif what == "run" and unacked:
            # ACKs of one read, each of its own.
            run = sorted(unacked)[: value + 1]
            accepted = holder.accept_run(run)
            settled += accepted
            holder.resume()
            assert 0 <= accepted <= len(run)
        elif what == "commit" and claims:
            numbers = claims.pop(value % len(claims))
            settled += len(numbers)
            holder.settle(numbers, None, None)
        elif what == "abort" and claims:
            holder.unclaim(claims.pop(value % len(claims)))
        held = len(holder.unacked) + len(holder.claimed)
        assert holder.credit == (prefetch or 1 << 60) - held
        assert sum(figures(queue).unacked for queue in queues) == held
        ready = sum(figures(queue).ready for queue in queues)
        assert sent == settled + held + ready
        assert not (ready and holder.credit), "something could have come"
        for queue, messages in by_queue(several, held_by(holder)).items():
            assert figures(queue).unacked == len(messages)
    holder.end()
    for numbers in claims:
        holder.unclaim(numbers)
    waiting = sum(figures(queue).ready for queue in queues)
    assert waiting == sent - settled
    assert sum(figures(queue).unacked for queue in queues) == 0


def held_by(holder: AckSubscription) -> list[Message]:
    return [*holder.unacked.values(), *holder.claimed.values()]
