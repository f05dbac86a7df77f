"""Trained weights with their network, preprocessing, class names and licence."""

from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.config_json import save_pretrained
from inceptionnext_jax.pretrained.detection import Detection
from inceptionnext_jax.pretrained.loading import load_model, load_pretrained
from inceptionnext_jax.pretrained.predictions import Prediction, predict
from inceptionnext_jax.pretrained.preprocessing import (
    DensePreprocessing,
    DetectionPreprocessing,
    Preprocessing,
)
from inceptionnext_jax.pretrained.segmentation import Segmentation

__all__ = [
    "DensePreprocessing",
    "Detection",
    "DetectionPreprocessing",
    "Prediction",
    "Preprocessing",
    "Pretrained",
    "Segmentation",
    "load_model",
    "load_pretrained",
    "predict",
    "save_pretrained",
]
