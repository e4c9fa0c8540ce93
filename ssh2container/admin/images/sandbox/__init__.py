"""The confinement of whatever touches the bytes of an image."""
