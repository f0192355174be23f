"""Application Auto Scaling: scalable targets, policies, and their decisions."""
