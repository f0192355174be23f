"""An HTTP/1.1 server with limits on heads, bodies and connections."""
