"""What one front needs of the group that it visits, at the owner."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from stompy.errors import ProtocolError
from stompy_broker.cluster.log.changes import FrontMark
from stompy_broker.cluster.remote.verbs import ControlVerb, LinkEvent, MessageOrigin
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import Outcome, RestorableQueue
from stompy_broker.routing.sequences import Sequences


class AwaitedMessage(Protocol):
    """A message that somebody has, and whose batch is perhaps told again.

    Attributes:
        sequence: the one that it had.
    """

    sequence: int

    def take(self, queue: RestorableQueue, message: Message) -> None:
        """The message came again."""
        ...


class GuestTelling(Protocol):
    """What is told to a front at the end of the turn."""

    @property
    def name(self) -> str:
        """The name of the front."""
        ...

    def add(self, event: LinkEvent) -> None:
        """Tell something more, soon."""
        ...

    def tell_soon(self) -> None:
        """Have what is gathered be told."""
        ...

    def tell(self, safe_sequence: int) -> None:
        """Tell what is gathered now."""
        ...


class Ownership(Protocol):
    """What a guest needs of the group that it visits."""

    number: int
    tenure: int
    awaited: dict[tuple[str, int, int], AwaitedMessage]
    reissued: dict[tuple[str, int, int], int]
    unsafe: deque[MessageOrigin]

    def queue(self, name: str) -> RestorableQueue | None:
        """A queue of the group, made if need be; None: it cannot be made."""
        ...

    def control(self, verb: ControlVerb, done: Callable[[Outcome], None]) -> None:
        """Carry out an order, with all that the broker has to do with it."""
        ...

    @property
    def sequences(self) -> Sequences:
        """Numbers the messages of the group."""
        ...

    def take_sequence(self) -> int:
        """Give out the next one."""
        ...

    def pass_over(self, sequence: int) -> None:
        """Give out none up to this one."""
        ...

    def stamp(self) -> bytes:
        """What messages carry that come now."""
        ...

    def ends_at(self, head: MessageHead) -> int:
        """When a message of this head ends that comes now; 0 = never."""
        ...

    def is_over(self, expires: int) -> bool:
        """Whether a time has come."""
        ...

    def refusal(self, head: MessageHead, queue: RestorableQueue) -> ProtocolError | None:
        """Why a message cannot be taken, whatever queue it is for."""
        ...

    def blocking(self, queue: RestorableQueue) -> Watermark | None:
        """What makes those wait who send to a queue."""
        ...

    def settle_anywhere(self, queue: str, sequences: set[int]) -> None:
        """Settle messages for who had them before whoever has them now."""
        ...

    def doubt(self) -> None:
        """All messages until now may have been delivered by another owner."""
        ...

    def originated(self, origin: MessageOrigin) -> None:
        """Tell the fronts where messages came from that they may be given."""
        ...

    def keep(self, guest: GuestTelling, mark: FrontMark | None, safe: Callable[[], None]) -> None:
        """Put into the log how far a front is, and call ``safe`` when all until now is.

        Nothing is put there without a mark.
        """
        ...

    def tell_soon(self, guest: GuestTelling) -> None:
        """Tell a front at the end of the turn what was gathered for it."""
        ...

    def lend(self, size: int) -> None:
        """Count so many more bytes as being with clients, which only those can give back."""
        ...

    def now(self) -> float:
        """The time on the clock."""
        ...
