"""Sub-commands of `python -m inceptionnext_jax`, one small file each."""
