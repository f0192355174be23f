"""An HTTP/1.1 server with limits."""
