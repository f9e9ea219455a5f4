"""How wrong is it: estimates of errors, predicted convergence, theory."""
