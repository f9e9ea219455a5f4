"""How fast MGRIT converges, and with which coarse steps."""
