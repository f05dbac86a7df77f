"""Augmentation on the device: pure functions (key, batch) -> batch."""
