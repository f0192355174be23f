"""What this package needs of the operating system: processes, folders, and errors of the machine."""
