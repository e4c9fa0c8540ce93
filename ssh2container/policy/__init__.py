"""What the admin allows: plain values, their merging, their loading."""
