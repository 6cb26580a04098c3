"""Sockets: what arrives goes to the session, what the session wrote goes out."""
