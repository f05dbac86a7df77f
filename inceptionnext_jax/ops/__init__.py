"""Hot kernels, and the choice of which one to use where."""
