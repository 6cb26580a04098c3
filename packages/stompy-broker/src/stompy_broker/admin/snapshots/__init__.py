"""What the broker is at one moment, as rows of `stompy.admin`."""
