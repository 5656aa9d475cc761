"""The durable audit trail, and the event pipeline beside it."""
