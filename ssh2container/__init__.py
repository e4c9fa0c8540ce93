"""A login shell that runs every session in an ephemeral container of its own."""

__version__ = "0.1.0"
