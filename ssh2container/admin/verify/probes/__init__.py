"""The probes, a module per group of the corpus. Each has a GROUP."""
