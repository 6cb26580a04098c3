"""How bytes reach a broker: addresses, and sockets opened within a deadline."""
