"""Links between brokers: one connection for each direction of each pair of them.

Where to begin reading: ``link`` is what the rest of the broker sees. On a link the broker that
opened it is the front: its requests go out, deliveries and answers come back.
"""
