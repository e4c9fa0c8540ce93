"""The verbs of ssh2containerctl, one file each, without logic of their own."""
