"""Keys at rest, each with the origins that it may be sent to."""
