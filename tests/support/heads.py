"""Heads of messages, made up, and what can be compared of them."""

from __future__ import annotations

from hypothesis import strategies as st
from tests.support.house import make_head

from stompy_broker.message import MessageHead

heads = st.builds(
    lambda priority, persistent, ttl, more: make_head(
        "/topic/a", priority=str(priority), persistent=persistent, ttl=str(ttl), **more
    ),
    st.integers(0, 9),
    st.sampled_from(["true", "false"]),
    st.integers(0, 10**9),
    st.dictionaries(
        st.sampled_from(["x", "y", "content-length", "timestamp"]),
        st.text(st.characters(codec="utf-8"), max_size=8),
    ),
)


_TRAITS = (
    "can_expire",
    "expires",
    "message_id",
    "persistent",
    "plain",
    "priority",
    "sized",
    "stamped",
    "ttl",
)
"""All of them; compiled, the class has no list of its own."""


def parts_of(head: MessageHead) -> tuple[object, ...]:
    traits = head.traits
    return head.block, *(getattr(traits, name) for name in _TRAITS)
