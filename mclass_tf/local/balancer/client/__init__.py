"""Connections of clients: read, queue and answer requests."""
