"""How time is cut, and how a run of layers is propagated on every level."""
