"""What a queue's messages cost: memory, disk, and the queue's own mark (**hot path**).

Consumers with acknowledgement move what they have from the queue's account to the loans, about, and
back again. What is in a queue that only one client can empty is a loan from the beginning.
"""

from __future__ import annotations

from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.flow_control import Loans, Pressure
from stompy_broker.routing.paging import Reading
from stompy_broker.store.base import MessageStore


class Accounts:
    """A queue as far as it adds up.

    Attributes:
        destination: as clients write it.
        pressure: makes senders wait; None = nothing of its own does.
        account: where what is in it is added up.
        loans: what single clients have.
        bytes: size of everything in it, also of what is with consumers.
    """

    destination: str
    pressure: Pressure | None
    account: Pressure
    loans: Loans
    bytes: int
    _backlog: bool
    _unacked: int
    _disk: Pressure
    _reading: Reading
    _store: MessageStore | None

    def _keep(self, message: Message) -> None:
        """Account for a message, and store it where it is to survive."""
        size = message.size
        self.bytes += size
        account = self.account
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
        """Undo `_keep`."""
        size = message.size
        self.bytes -= size
        account = self.account
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

    def _take_back(self, message: Message, consumer: Consumer) -> None:
        """A message on its way through could not be handed out: it is in the queue now."""
        if consumer.auto:
            self._keep(message)
        else:
            self._unacked -= 1

    def _note_delivery(self, message: Message, holder: int) -> None:
        """A delivery that a crash cuts short has to be seen afterwards."""
        if self._store is not None and message.head.persistent:
            known = 0 if message.redelivery is None else message.redelivery.deliveries
            self._store.mark_delivered(message, known + 1, 0, holder)

    def _shed(self, message: Message) -> None:
        """What comes back leaves its body on disk where bodies stay there."""
        account, store = self.account, self._store
        if store is None or account.used * 2 <= account.high:
            return
        if message.head.persistent and store.is_written(message):
            message.leave_body(account)
