"""Arrays: their layout, checks, and memory that is used again."""
