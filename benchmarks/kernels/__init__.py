"""How fast the serial path is, and what the engine adds to it."""
