"""What a queue's messages cost: memory, disk, and the queue's own mark (**hot path**).

What waits in a queue and what is with its consumers is added up in two places, because only the
former is a reason to make producers wait (`stompy_broker.routing.pressure`). A queue that only one
client can empty has everything in the latter.
"""

from __future__ import annotations

from stompy_broker.message import Message
from stompy_broker.routing.pressure import Loans, Pressure
from stompy_broker.routing.reading import Reading
from stompy_broker.store.base import MessageStore


class Accounts:
    """A queue as far as it adds up.

    Attributes:
        destination: as clients write it.
        pressure: makes senders wait; None = nothing of its own does.
        loans: where what is with consumers is added up.
        bytes: size of everything in it, also of what is with consumers.
    """

    destination: str
    pressure: Pressure | None
    loans: Loans
    bytes: int
    _account: Pressure
    _backlog: bool
    _disk: Pressure
    _reading: Reading
    _store: MessageStore | None

    def _keep(self, message: Message, account: Pressure) -> None:
        """Account for a message, and store it where it is to survive."""
        size = message.size
        self.bytes += size
        if self._backlog:
            message.charge(account)
        else:
            account.used += size
        if account.used >= account.high:
            account.reached()
        if self.pressure is not None:
            self.pressure.used += size
            if self.pressure.used >= self.pressure.high:
                self.pressure.reached()
        if self._store is not None and message.head.persistent:
            self._store.append(self.destination, message)
            self._disk.add(size)

    def _let_go(self, message: Message) -> None:
        """Account no more for a message that waits."""
        self._release(message, self._account)

    def _move(self, message: Message, source: Pressure, target: Pressure) -> None:
        """A message goes to a consumer, or comes back from one."""
        if source is target:
            return
        if self._backlog:
            message.discharge(source)
            message.charge(target)
        else:
            size = message.size
            source.used -= size
            target.used += size
        if target.used >= target.high:
            target.reached()
        if source.used <= source.floor:
            source.relieved()

    def _release(self, message: Message, account: Pressure) -> None:
        """Undo `_keep`."""
        size = message.size
        self.bytes -= size
        if self._backlog:
            message.discharge(account)
        else:
            account.used -= size if message.body is not None else message.ram_on_disk
        if account.used <= account.floor:
            account.relieved()
        if self.pressure is not None:
            self.pressure.used -= size
            if self.pressure.used <= self.pressure.floor:
                self.pressure.relieved()
        if self._store is not None and message.head.persistent:
            self._store.remove(message)
            self._disk.used -= size
            if self._disk.used <= self._disk.floor:
                self._disk.relieved()
            if self._reading.wanted is not None:
                # Its body is not to be accounted for any more.
                self._reading.wanted.pop(message.sequence, None)

    def _shed(self, message: Message) -> None:
        """What comes back leaves its body on disk where bodies stay there."""
        account, store = self._account, self._store
        if store is None or account.used * 2 <= account.high:
            return
        if message.head.persistent and store.holds(message):
            message.leave_body(account)
