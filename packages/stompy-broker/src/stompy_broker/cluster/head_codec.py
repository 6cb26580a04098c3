"""The head of messages as bytes and back, as brokers of a cluster tell it one another. Pure."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself

from stompy_broker.message import MessageHead, MessageTraits, group_in

_HEAD = Struct("<BBQQII")
_SIZED, _STAMPED, _PERSISTENT, _WITH_ID, _GROUPED = 1, 2, 4, 8, 16


def write_head(head: MessageHead) -> bytes:
    """Write the head of messages: its block, and what it tells."""
    traits = head.traits
    message_id = traits.message_id
    flags = (
        _SIZED * traits.sized
        | _STAMPED * traits.stamped
        | _PERSISTENT * traits.persistent
        | _WITH_ID * (message_id is not None)
        | _GROUPED * (traits.group is not None)
    )
    own_id = message_id or b""
    row = _HEAD.pack(
        flags, traits.priority, traits.ttl, traits.expires, len(own_id), len(head.block)
    )
    return b"%b%b%b" % (row, own_id, head.block)


def read_head(octets: bytes) -> MessageHead:
    """Read what `write_head` has written.

    Raises:
        ValueError: it is something else.
    """
    try:
        flags, priority, ttl, expires, id_length, length = _HEAD.unpack_from(octets)
    except StructError:
        raise ValueError(f"{len(octets)} bytes are too short for a head") from None
    at = _HEAD.size + id_length
    if len(octets) != at + length:
        raise ValueError("a head has another length")
    block = octets[at:]
    traits = MessageTraits(
        sized=bool(flags & _SIZED),
        stamped=bool(flags & _STAMPED),
        persistent=bool(flags & _PERSISTENT),
        priority=priority,
        ttl=ttl,
        expires=expires,
        message_id=octets[_HEAD.size : at] if flags & _WITH_ID else None,
        grouping=group_in(block) if flags & _GROUPED else None,
    )
    return MessageHead(block, traits)
