"""Elastic Load Balancing v2: the API, and what the load balancers' process needs to know."""
