"""Whether the broker is alive, and whether clients should be sent to it.

Alive means that its event loop turns. Ready means more than that, and each part of the broker that
can be against it says why: a function that gives one line, empty when all is well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stompy_broker.routing.router import Router
from stompy_broker.security.login import Logins

Reason = Callable[[], str]
"""Says why clients should go elsewhere, in one line; empty = they need not."""

STARTING, STOPPING = "the broker is starting", "the broker is stopping"

LONGEST_TURN = 5.0
"""Seconds for a turn of the event loop, beyond which the broker is no better than a dead one."""

_ALARMS = {
    "memory": "waiting messages have reached limits.memory",
    "disk": "messages on disk have reached limits.disk",
    "store": "the store cannot be written",
}


class Health:
    """Knows how the broker is.

    Attributes:
        phase: why it takes no clients at all: it is starting or stopping; empty while it runs.
        reasons: why else it may not be ready; whoever can be against it adds its own.
    """

    def __init__(self) -> None:
        self.phase = STARTING
        self.reasons: list[Reason] = []

    def watch(self, router: Router, logins: Logins) -> None:
        """Be not ready while one of these is against it: whoever drains, and alarms."""
        self.reasons[:0] = [partial(_draining, logins), partial(_alarms, router)]

    def not_ready(self) -> str:
        """Why clients should go elsewhere, in one line; empty = they need not."""
        if self.phase:
            return self.phase
        return "; ".join(filter(None, (reason() for reason in self.reasons)))


def _draining(logins: Logins) -> str:
    return "the broker is draining: only operators may come in" if logins.draining else ""


def _alarms(router: Router) -> str:
    store = router.groups.trouble
    words = {**_ALARMS, "store": store or _ALARMS["store"]}
    # That another broker is lost, or has other rules, is an alarm of everybody who is left. Were
    # they not ready for it, one dead machine would have no broker take clients any more.
    against = [name for name in router.alarms if name in words]
    return "; ".join(f"alarm {name}: {words[name]}" for name in against)
