"""Experiments of the papers on layer-parallel training, one file per study."""
