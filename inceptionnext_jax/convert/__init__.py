"""Weights from and to PyTorch's names and layouts."""

from inceptionnext_jax.convert.torch_weights import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
