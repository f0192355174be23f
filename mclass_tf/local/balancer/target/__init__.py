"""Connections to targets: send requests and read answers."""
