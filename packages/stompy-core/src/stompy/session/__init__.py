"""The life of a client over all its connections, without input and output. Pure."""
