"""What counts as healthy."""

from dataclasses import replace

import pytest

from stompy.session.health import NEVER_CONNECTED, ClientHealth, SubscriptionHealth
from stompy.session.state import ConnectionState

SUBSCRIPTION = SubscriptionHealth("s", "/queue/q", True, 0, 0, 0, 0, 0, 0, None)
GOOD = replace(NEVER_CONNECTED, state=ConnectionState.CONNECTED, subscriptions=(SUBSCRIPTION,))


@pytest.mark.parametrize(
    ("health", "ok"),
    [
        (NEVER_CONNECTED, False),
        (GOOD, True),
        (replace(GOOD, subscriptions=()), True),
        (replace(GOOD, state=ConnectionState.RECONNECTING), False),
        (replace(GOOD, subscriptions=(SUBSCRIPTION, replace(SUBSCRIPTION, active=False))), False),
    ],
)
def test_connected_and_every_subscription_active(health: ClientHealth, ok: bool):
    assert health.ok is ok
