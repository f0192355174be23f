"""A one-off task: its task definition, its run and its log."""
