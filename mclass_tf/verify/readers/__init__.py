"""What the checks read from AWS, a module for each service: a check asks for a noun, never for a call."""
