"""Archives into trees: what may come out of them, and how it is written."""
