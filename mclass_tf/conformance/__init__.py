"""Records what AWS, or the local AWS, does in the life of an environment, and compares two recordings."""
