"""Where messages survive: the interface, and the store that keeps nothing."""
