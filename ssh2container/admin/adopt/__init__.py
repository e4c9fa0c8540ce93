"""Taking over accounts that exist: what each has and may, what of it is kept, and the way back."""
