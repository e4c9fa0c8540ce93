"""Policies from what there is already: Compose files, Quadlet units, calls of podman and docker."""
