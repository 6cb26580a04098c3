"""What identifies a subscription, under its public name."""

from stompy.sync.subscribing import SubscriptionId

__all__ = ["SubscriptionId"]
