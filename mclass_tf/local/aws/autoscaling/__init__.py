"""Application Auto Scaling: scalable targets, scaling policies and their decisions."""
