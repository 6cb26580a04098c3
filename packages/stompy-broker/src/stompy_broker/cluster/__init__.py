"""Several brokers, one set of queues: the log that they share, on NATS JetStream."""
