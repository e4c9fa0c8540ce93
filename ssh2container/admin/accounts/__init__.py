"""Making a user's login shell ours, and giving it back: changes that can be shown, done and undone."""
