"""What a client tells about itself, under its public name."""

from stompy.protocol.traffic import Traffic
from stompy.session.health import ClientHealth, SubscriptionHealth

__all__ = ["ClientHealth", "SubscriptionHealth", "Traffic"]
