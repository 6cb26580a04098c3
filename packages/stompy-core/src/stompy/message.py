"""Messages of the blocking client, under their public name."""

from stompy.sync.message import Delivery, Message, Settlement

__all__ = ["Delivery", "Message", "Settlement"]
