"""Access control of the local AWS: access keys, signatures, and the owner of a connection's peer."""
