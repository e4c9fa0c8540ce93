"""Images: taken from anything, checked as hostile input, kept content-addressed. Cold path only."""
