"""Messages of the blocking client, under their public name."""

from stompy.session.delivery import Delivery, Settlement
from stompy.sync.message import Message

__all__ = ["Delivery", "Message", "Settlement"]
