"""What inexact gradients do to training."""
