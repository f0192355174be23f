"""A rehearsal: a release on the local AWS under load."""
