"""How a scheduled message leaves when it is due: what the floors above do for its queue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from stompy.compiler import mypyc_attr
from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.group import QueueGroup
from stompy_broker.schedules.schedule_spec import CatchUp


@mypyc_attr(allow_interpreted_subclasses=True)
class Firing:
    """Publishes what is due as if it were sent now, wherever its destination leads.

    Args:
        zone: by whose clock a cron expression is meant that names no time zone.
        catch_up: what becomes of what fell due again and again while no broker was there.
    """

    def __init__(self, zone: str = "UTC", catch_up: CatchUp = CatchUp.ONCE) -> None:
        self.zone = zone
        self.catch_up = catch_up

    @abstractmethod
    def fire(
        self,
        origin: str,
        group: QueueGroup,
        head: MessageHead,
        body: bytes,
        refused: Refused,
        depart: Callable[[], Done],
    ) -> bool:
        """Publish a message that is due.

        Args:
            origin: the destination that it was sent to, or several.
            group: of the queue in which it waited.
            head: its headers.
            body: its body.
            refused: told in this call if it is refused; then it is nowhere but where it waited.
            depart: gives what to call when it is safe elsewhere, or refused there.

        Returns:
            Whether it leaves in this turn, as one change with what its queue is told; else
            ``depart`` was called.
        """
