"""How brokers differ, under its public name."""

from stompy.session.dialects import Dialect, Nack, dialect_of

__all__ = ["Dialect", "Nack", "dialect_of"]
