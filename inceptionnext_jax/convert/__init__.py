"""Weights from and to PyTorch's names and layouts."""

from inceptionnext_jax.convert.files import read_weights
from inceptionnext_jax.convert.torch_weights import MismatchError, from_torch, to_torch

__all__ = ["MismatchError", "from_torch", "read_weights", "to_torch"]
