"""What values may stand under a key, and what they come to."""
