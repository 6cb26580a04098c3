"""Where data comes from: a broker, or a recording of one."""
