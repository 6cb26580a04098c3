"""What identifies a subscription, under its public name."""

from stompy.session.subscriptions import SubscriptionId

__all__ = ["SubscriptionId"]
