"""moto as AWS: its backends with what AWS really does added, one module per service."""
