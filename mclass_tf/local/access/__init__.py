"""Who may call the local AWS: keys, signatures, and the peer of a connection."""
