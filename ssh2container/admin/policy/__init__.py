"""The policy language: declarations, reading, checking, compiling (cold; YAML is imported here only)."""
