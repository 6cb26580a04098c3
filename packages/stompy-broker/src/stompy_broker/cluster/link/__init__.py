"""Links between brokers: one connection for each direction of each pair of them.

On a link the broker that opened it is the front: its requests go out, deliveries and answers come
back. Where to begin reading:

``link``
    What the rest of the broker sees.
``codec``, ``handshake``
    Messages as bytes, and how two brokers find out that they belong together.
``connection``
    The socket: beats, silence, and an end that is told once.
``dialer``, ``links``
    A link to each member, tried again and again, and those that members open.

A link comes in at the port for clients, where ``wire/handshake`` tells it by its first bytes.
"""
