"""Logins before they happen: whether one would start, what it would do, what it costs."""
