"""Rehearsals: a release under traffic, its effect on the requests, and the settings that would have helped."""
