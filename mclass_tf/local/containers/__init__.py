"""Containers of tasks on this machine: how one is started, watched, checked and ended."""
