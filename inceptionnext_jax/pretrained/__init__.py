"""Trained weights with their network, preprocessing, class names and licence."""

from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.config_json import save_pretrained
from inceptionnext_jax.pretrained.loading import load_model, load_pretrained
from inceptionnext_jax.pretrained.predictions import Prediction, predict
from inceptionnext_jax.pretrained.preprocessing import Preprocessing

__all__ = [
    "Prediction",
    "Preprocessing",
    "Pretrained",
    "load_model",
    "load_pretrained",
    "predict",
    "save_pretrained",
]
