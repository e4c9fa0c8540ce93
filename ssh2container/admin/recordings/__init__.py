"""Recordings: the collector that keeps them, reading, verifying and playing them."""
