"""Destinations at work: queues, topics, and who gets the next message.

Knows nothing of STOMP's frames, of connections or of sockets. Everything here belongs to the
event loop's thread, so there are no locks.
"""
