"""The data plane of the load balancers: a separate process that forwards traffic and checks the health of targets."""
