"""Elastic Load Balancing v2: the API and the control plane of the load balancer process."""
