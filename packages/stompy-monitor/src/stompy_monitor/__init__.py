"""See what a STOMP broker is doing; today only as the command `stompy-monitor`."""
