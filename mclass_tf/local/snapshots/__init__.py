"""Snapshots: the whole local AWS at rest in one file, from which another one starts."""
