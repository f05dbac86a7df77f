"""Hot kernels and the choice between their implementations."""
