"""Augmentation on the device: pure functions (key, batch, positions) -> batch."""

from inceptionnext_jax.augment.recipe import AugmentSettings, make_augment

__all__ = ["AugmentSettings", "make_augment"]
