"""Servers on this machine's loopback that tests speak to."""
