"""What CONNECTED says to who was let in, beside version and heart-beat."""

from __future__ import annotations

from stompy.admin.snapshot import VERSION
from stompy_broker.routing.router import Router
from stompy_broker.security.auth import Principal
from stompy_broker.session.context import BrokerContext, Peer

_FULL = {
    "memory": "waiting messages have reached limits.memory",
    "disk": "messages on disk have reached limits.disk",
}


def why_producers_wait(router: Router) -> str:
    """What CONNECTED tells a client that comes while there is no room; empty while there is."""
    reasons = [_FULL.get(name) or router.groups.trouble for name in router.alarms]
    words = [reason.replace("\n", " ") for reason in reasons if reason]
    return " and ".join(dict.fromkeys(words))


def greeting(
    session_id: str, principal: Principal, peer: Peer, context: BrokerContext
) -> dict[str, str]:
    """Give the headers of CONNECTED.

    Args:
        session_id: its header ``session``.
        principal: who was let in.
        peer: the connection.
        context: what sessions share.
    """
    settings = context.settings
    answer = {
        "session": session_id,
        "user-name": principal.name,
        "admin-role": principal.role.value,
        "admin-version": str(VERSION),
        **settings.limits.told(),
    }
    if settings.tail:
        answer["admin-broker"] = settings.tail.removeprefix("@")
    answer |= settings.told
    if reason := why_producers_wait(context.router):
        answer["producers-wait"] = reason
    answer |= context.peer_headers(peer.listener)
    # CONNECTED has no escapes, so a name that would need one is not echoed.
    if not principal.name.isprintable():
        del answer["user-name"]
    return answer
