"""Forward and backward propagation of batches, and gradients."""
