"""What a client tells about itself, under its public name."""

from stompy.session.health import ClientHealth, SubscriptionHealth, Traffic

__all__ = ["ClientHealth", "SubscriptionHealth", "Traffic"]
