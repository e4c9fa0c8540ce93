"""Forgetting accounts: who is meant, what is still held of them, and removing or archiving it."""
