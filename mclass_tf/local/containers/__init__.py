"""Runs the containers of tasks on this machine: starts, watches, health-checks and stops them."""
