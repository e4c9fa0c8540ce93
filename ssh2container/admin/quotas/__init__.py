"""Disk quotas of kept homes, as the file systems have them."""
