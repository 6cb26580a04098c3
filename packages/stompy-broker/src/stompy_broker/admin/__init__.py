"""The broker's own topics and commands under ``$SYS``: see everything, over STOMP alone."""
