"""The declarations, a module for each section of the reference."""
