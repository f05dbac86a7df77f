"""Files to deploy: StableHLO for every backend of JAX, ONNX for everything else."""

from inceptionnext_jax.export.artifact import FORMATS, export

__all__ = ["FORMATS", "export"]
