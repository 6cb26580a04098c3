"""A broker inside another program: in a thread, as a child process, in a notebook, in a test."""
