"""One client's life: its frames become calls to the router, its deliveries become frames.

No I/O: a session is handed bytes, and writes into an `OutputBuffer` that its connection empties.
"""
