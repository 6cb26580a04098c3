"""Who holds a durable subscription, and who gives way to whom."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.security.auth import Principal
from stompy_broker.session.active_subscribers import ActiveSubscribers


class Client:
    def __init__(self, login: str = "ann", *, silent: bool = False) -> None:
        self.principal: Principal | None = Principal(login)
        self.is_silent = silent
        self.silence = 30.0
        self.probed = False
        self.refusal: ProtocolError | None = None

    def probe(self) -> None:
        self.probed = True

    def refuse(self, error: ProtocolError) -> None:
        self.refusal = error


def test_who_is_silent_gives_way_to_the_same_client_come_again():
    active_subscribers, old = ActiveSubscribers(), Client(silent=True)
    active_subscribers.activate("q", old)
    active_subscribers.take_over("q", Client())
    assert old.refusal is not None
    assert "has come again, and here it was silent for 30 s" in old.refusal.Message


def test_who_speaks_stays_and_is_asked_for_a_sign_of_life():
    active_subscribers, old = ActiveSubscribers(), Client()
    active_subscribers.activate("q", old)
    with pytest.raises(ProtocolError, match=r"heard 30\.0 s ago") as caught:
        active_subscribers.take_over("q", Client())
    assert caught.value.code == "subscription-in-use"
    assert old.probed
    assert old.refusal is None


def test_another_login_ends_nobody():
    active_subscribers, old = ActiveSubscribers(), Client(silent=True)
    active_subscribers.activate("q", old)
    active_subscribers.take_over("q", Client("mallory"))  # the router refuses it
    assert old.refusal is None
    assert not old.probed


def test_who_has_left_is_no_tenant_and_nobody_gives_way_to_itself():
    active_subscribers, old, new = ActiveSubscribers(), Client(silent=True), Client(silent=True)
    active_subscribers.activate("q", old)
    active_subscribers.take_over("q", old)
    active_subscribers.activate("q", new)
    active_subscribers.deactivate("q", old)  # its end comes late
    active_subscribers.take_over("q", Client())
    assert new.refusal is not None
    active_subscribers.deactivate("q", new)
    active_subscribers.take_over("q", Client())
    assert old.refusal is None
