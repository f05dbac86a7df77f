"""Normalised images as pixels again, to be drawn."""

import numpy as np
from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.types import HostBatch


def pixels(config: ConfigDict, batch: HostBatch) -> np.ndarray:
    """Returns an augmented batch's images as [N, H, W, 3] uint8, clipped."""
    info = models.model_info(config.model.name)
    values = (batch["image"].astype(np.float64) * info.std + info.mean) * 255
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
