"""The NATS servers that a cluster keeps its log in: their protocol, a client, JetStream."""
