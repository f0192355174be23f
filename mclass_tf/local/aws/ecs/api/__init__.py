"""The ECS API: what a call may ask for, and how it is answered."""
