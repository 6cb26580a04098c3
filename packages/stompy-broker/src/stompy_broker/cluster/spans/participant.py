"""An owner's side of transactions over groups: its shares, by who coordinates them."""

from __future__ import annotations

from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.log import Append
from stompy_broker.cluster.remote.parts import Part
from stompy_broker.cluster.remote.places import Places
from stompy_broker.cluster.remote.tables import VerbError
from stompy_broker.cluster.spans.share import Share, ShareTelling
from stompy_broker.cluster.spans.share_line import ShareLine
from stompy_broker.cluster.spans.span_messages import (
    GIVE_BACK,
    PREPARE,
    REFUSE,
    RESOLVED,
    read_part,
    read_place,
    write_offer,
    write_place,
    write_words,
)


class Participant:
    """The shares at one broker.

    Args:
        places: where the groups are.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lines = [ShareLine(group, places.soon) for group in places.groups]
        self._shares: dict[tuple[Link, int, int], Share] = {}

    # -- of this broker -----------------------------------------------------------------------

    def keep(self, number: int, part: Part) -> None:
        """Keep what our own consumers have settled in a part until it is decided."""
        guests = self._places.groups[number].guests
        if guests is not None and part.held:
            part.custody = guests.begin_custody()
            part.custody.update(part.held)

    def share(self, number: int, part: Part, telling: ShareTelling) -> Share:
        """Make a share of a part of this broker, and put it in line."""
        guests = self._places.groups[number].guests
        assert guests is not None
        share = Share(part.verbs, "", part.custody, guests, self._places.router, telling)
        self._lines[number].add(share)
        return share

    def give_back(self, number: int, part: Part) -> None:
        """Put back what our own consumers have settled in a part."""
        guests = self._places.groups[number].guests
        assert guests is not None
        router = self._places.router
        Share(part.verbs, "", part.custody, guests, router, _Nobody()).give_back()

    # -- of others ----------------------------------------------------------------------------

    def received(self, link: Link, kind: int, number: int, group: int, message: bytes) -> None:
        """Take what a coordinator tells.

        Raises:
            VerbError: it makes no sense.
        """
        if group >= len(self._lines):
            raise VerbError(f"there is no group {group}")
        key = link, number, group
        if kind not in (PREPARE, GIVE_BACK):
            share = self._shares.get(key)
            if share is not None:
                share.decide(read_place(message))
                if share.ended:
                    self.forget(*key)
            return
        front, verbs = read_part(message)
        place = self._places.groups[group]
        guests = place.guests
        telling = _There(self, link, number, group)
        if guests is None or not place.serving:
            if kind == PREPARE:
                telling.refused("it is not served by the broker that was asked")
            return
        share = Share(verbs, front, None, guests, self._places.router, telling)
        if kind == GIVE_BACK:
            share.give_back()
            return
        self._shares[key] = share
        self._lines[group].add(share)

    def lost(self, link: Link) -> None:
        """Ask the log about the shares of a coordinator that cannot be heard any more."""
        for key, share in list(self._shares.items()):
            if key[0] is link:
                share.decide(0)
                if share.ended:
                    self.forget(*key)

    def forget(self, link: Link, number: int, group: int) -> None:
        """A share is over."""
        self._shares.pop((link, number, group), None)


class _There:
    """Tells the coordinator of a share at another broker."""

    def __init__(self, participant: Participant, link: Link, number: int, group: int) -> None:
        self._participant = participant
        self._link = link
        self._number = number
        self._group = group

    def offered(self, append: Append) -> None:
        """This is the record."""
        self._link.send(write_offer(self._number, self._group, append.expected, append.parts))

    def refused(self, reason: str) -> None:
        """It takes no part, and never will."""
        self._participant.forget(self._link, self._number, self._group)
        self._link.send(write_words(REFUSE, self._number, self._group, reason))

    def resolved(self, place: int) -> None:
        """It is in the log at that place, or not, and never will be."""
        self._participant.forget(self._link, self._number, self._group)
        self._link.send(write_place(RESOLVED, self._number, self._group, place))


class _Nobody:
    """Tells nobody of a share that was given back."""

    def offered(self, append: Append) -> None:
        """Nobody waits for it."""

    def refused(self, reason: str) -> None:
        """Nobody waits for it."""

    def resolved(self, place: int) -> None:
        """Nobody waits for it."""
