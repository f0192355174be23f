"""mclass-server: the service that this project deploys."""

__version__ = "1.0.0"
SERVICE = "mclass-server"
