"""What is drawn: each widget shows one slice of the model and keeps no history."""
