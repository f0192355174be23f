"""Helpers of the verb that records the life of an environment."""
