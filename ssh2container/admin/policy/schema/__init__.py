"""The keys of a policy: declared once, for the checks, the reference and editors alike."""
