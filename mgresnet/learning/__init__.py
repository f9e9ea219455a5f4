"""Objectives, gradients, optimisers and the trainer."""
