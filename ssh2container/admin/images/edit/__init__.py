"""Changing an image by hand or by script: a shell in a copy of it, behind walls."""
