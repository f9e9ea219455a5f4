"""Compiled loops: Numba lives here and nowhere else."""
