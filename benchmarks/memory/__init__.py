"""How much memory a gradient needs."""
