"""Connections of clients: requests are read, queued and answered."""
