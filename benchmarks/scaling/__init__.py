"""What several ranks gain, and what they cost."""
