"""Connections to targets: requests are sent, answers are read."""
