"""Operating system access: processes, private folders, and errors of the machine."""
