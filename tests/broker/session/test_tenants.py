"""Who holds a durable subscription, and who gives way to whom."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.security.auth import Principal
from stompy_broker.session.tenants import Tenants


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
    tenants, old = Tenants(), Client(silent=True)
    tenants.moves_in("q", old)
    tenants.make_room("q", Client())
    assert old.refusal is not None
    assert "has come again, and here it was silent for 30 s" in old.refusal.Message


def test_who_speaks_stays_and_is_asked_for_a_sign_of_life():
    tenants, old = Tenants(), Client()
    tenants.moves_in("q", old)
    with pytest.raises(ProtocolError, match=r"heard 30\.0 s ago") as caught:
        tenants.make_room("q", Client())
    assert caught.value.code == "subscription-in-use"
    assert old.probed
    assert old.refusal is None


def test_another_login_ends_nobody():
    tenants, old = Tenants(), Client(silent=True)
    tenants.moves_in("q", old)
    tenants.make_room("q", Client("mallory"))  # the router refuses it
    assert old.refusal is None
    assert not old.probed


def test_who_has_left_is_no_tenant_and_nobody_gives_way_to_itself():
    tenants, old, new = Tenants(), Client(silent=True), Client(silent=True)
    tenants.moves_in("q", old)
    tenants.make_room("q", old)
    tenants.moves_in("q", new)
    tenants.moves_out("q", old)  # its end comes late
    tenants.make_room("q", Client())
    assert new.refusal is not None
    tenants.moves_out("q", new)
    tenants.make_room("q", Client())
    assert old.refusal is None
