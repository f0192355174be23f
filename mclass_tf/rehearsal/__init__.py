"""A rehearsal: traffic over a release, what came of it, and what would have helped."""
