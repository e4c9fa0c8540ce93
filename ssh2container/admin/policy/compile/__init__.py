"""Policies into what a login loads: the loader, and the compiled forms it leaves."""
