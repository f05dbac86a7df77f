"""Augmentation on the device: pure functions (key, batch, positions) -> batch."""

from inceptionnext_jax.augment.recipe import AugmentSettings, make_augment, mix_group

__all__ = ["AugmentSettings", "make_augment", "mix_group"]
