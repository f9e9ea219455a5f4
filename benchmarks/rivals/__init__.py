"""The same computations by other programs, and by the kernels themselves."""
