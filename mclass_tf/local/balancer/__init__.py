"""The load balancers' data plane, a process of its own: it carries the traffic and checks the targets' health."""
