"""Readers of AWS, one module for each service. Checks ask for resources, never for API calls."""
