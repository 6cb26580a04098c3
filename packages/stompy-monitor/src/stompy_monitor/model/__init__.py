"""What is known of a broker: rows, their history, and the alarms about them. Pure."""
