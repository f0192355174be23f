"""HTTP messages as they are read and written, without a connection."""
