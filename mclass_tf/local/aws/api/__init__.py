"""What every call passes before its service: signature, body, operation, permissions, errors."""
