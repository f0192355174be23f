"""HTTP messages, independent of connections."""
