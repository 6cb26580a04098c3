"""What a destination is called, which names a pattern matches, and what is set for it. Pure."""
