"""What an image can be made of: a module per kind, each handing over tar streams."""
