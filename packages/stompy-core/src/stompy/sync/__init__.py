"""The blocking client: one I/O thread for each connection, and callers that wait."""
