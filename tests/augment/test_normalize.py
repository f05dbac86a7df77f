"""Normalisation."""

import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize


def test_every_value_is_normalised_as_torch_does_after_to_tensor():
    image = jnp.broadcast_to(jnp.arange(256, dtype=jnp.uint8)[None, None, :, None], (1, 1, 256, 3))
    mean, std = np.asarray([0.485, 0.456, 0.406]), np.asarray([0.229, 0.224, 0.225])
    want = (np.arange(256)[:, None] / 255 - mean) / std
    got = normalize(image, tuple(mean), tuple(std), jnp.float32)
    np.testing.assert_allclose(got[0, 0], want, atol=5e-6)
