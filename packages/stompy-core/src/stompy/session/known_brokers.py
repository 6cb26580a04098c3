"""Which brokers a client knows: those that were given, and those that brokers told of. Pure.

A broker of a cluster names the others in the header ``peers`` of CONNECTED, and of the ERROR by
which it sends its clients away. The invariants:

* What the application gave comes first, in its order, and is never forgotten.
* An address that was learned has the scheme of the one that it was learned at. So nobody who asked
  for TLS sends a passcode in clear, and nobody who came over a WebSocket leaves it.
* Only the newest word counts, and at most `MOST_LEARNED` addresses of it: a cluster whose machines
  are replaced one after the other leaves no dead addresses behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from stompy.session.address import Address, parse_address

logger = logging.getLogger("stompy")

PEERS = "peers"
"""The header: URLs with commas between."""

MOST_LEARNED = 32
"""How many learned addresses are remembered."""


class KnownBrokers:
    """The brokers of one client.

    Args:
        given: the addresses of the application, in its order.
        random: gives a number from 0 to below 1, each time a new one.
        learns: whether it learns any.

    Attributes:
        learned: what brokers told of, in their order.
        leaving: the address that has sent us away; it comes last in the next round.
    """

    def __init__(
        self, given: tuple[Address, ...], random: Callable[[], float], *, learns: bool
    ) -> None:
        self._given = given
        self._random = random
        self._learns = learns
        self.learned: tuple[Address, ...] = ()
        self.leaving: Address | None = None

    def learn(self, told: str | None, source: Address) -> bool:
        """Take what a broker tells of the others.

        Args:
            told: the header `PEERS` of its frame; None = there is none, and what is known stays.
            source: where that broker is.

        Returns:
            Whether it told of one that may be gone to.
        """
        if not told or not self._learns:
            return False
        # In answer to CONNECT, before a version is known, nothing was un-escaped.
        told = told.replace(r"\c", ":")
        found = [address for url in told.split(",") if (address := _read(url.strip(), source))]
        # A broker does not name itself, and may be one that was only learned.
        places = {_place(address) for address in self._given}
        learned = []
        for address in (*found[:MOST_LEARNED], source):
            if _place(address) not in places:
                places.add(_place(address))
                learned.append(replace(address, learned=True))
        self.learned = tuple(learned[:MOST_LEARNED])
        here = _place(source)
        return any(_place(address) != here for address in found)

    def round(self, *, shuffle: bool) -> list[Address]:
        """Give the addresses to try, in this order.

        Args:
            shuffle: whether the order of those that were given is random. That of the others
                always is, so that the clients of a broker that leaves do not all go to one.
        """
        given = self._in_any_order(self._given) if shuffle else list(self._given)
        addresses = given + self._in_any_order(self.learned)
        if self.leaving is not None:
            last, self.leaving = _place(self.leaving), None
            addresses.sort(key=lambda address: _place(address) == last)
        return addresses

    def _in_any_order(self, addresses: Iterable[Address]) -> list[Address]:
        return sorted(addresses, key=lambda _: self._random())


def _read(url: str, source: Address) -> Address | None:
    """The address that a broker told of; None if it is none, or we do not go there."""
    try:
        address = parse_address(url)
    except ValueError as error:
        logger.info("%s told of another broker, which is passed over: %s", source, error)
        return None
    if address.scheme is not source.scheme:
        logger.info("%s told of %s, which is not spoken to as it is", source, address)
        return None
    # Whoever we are, we are there as well; what a broker says about that is of no use.
    return replace(
        address,
        login=source.login,
        passcode=source.passcode,
        vhost=source.vhost,
        path=address.path or source.path,
        query=source.query,
    )


def _place(address: Address) -> tuple[str, str, int, str]:
    return address.scheme, address.host.lower(), address.port, address.path
