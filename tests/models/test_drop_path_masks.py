"""Training with stochastic depth gives timm's logits where timm drops the same examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from tests.models.oracle import images, randomise, relative_error, state

QUICKLY = {"xla_backend_optimization_level": 0}
RATE, BATCH = 0.5, 4
NOISE = DropNoise(jax.random.key(7), jnp.arange(BATCH))

# Name, timm's, blocks per stage, timm's options, pixels, masks of a block.
NETWORKS = [
    ("inceptionnext_tiny", "inception_next_tiny", (1, 1, 2, 1), {"depths": (1, 1, 2, 1)}, 64, 1),
    ("convnext_tiny", "convnext_tiny", (1, 1, 2, 1), {"depths": (1, 1, 2, 1)}, 64, 1),
    ("resnet50", "resnet50", (1, 1, 2, 1), {"layers": (1, 1, 2, 1)}, 64, 1),
    ("poolformer_s12", "poolformer_s12", (2, 2, 6, 2), {}, 64, 2),
    ("deit_small", "deit_small_patch16_224", (3,), {"depth": 3}, 224, 2),
    ("swin_tiny", "swin_tiny_patch4_window7_224", (1, 1, 1, 1), {"depths": (1, 1, 1, 1)}, 224, 2),
    ("focalnet_tiny", "focalnet_tiny_lrf", (2, 2, 6, 2), {}, 64, 2),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network[0])
def test_training_logits_equal_timms_under_the_same_masks(timm, monkeypatch, network):
    import torch

    name, twin, depths, options, size, masks_of_a_block = network
    blocks = sum(depths)
    rates = np.linspace(0, RATE, blocks, dtype=np.float32)
    # The first block drops nothing, and timm leaves its mask out.
    masks, left = [], list(range(masks_of_a_block, blocks * masks_of_a_block))

    def dropped(x, drop_prob=0.0, training=False, scale_by_keep=True):
        if not drop_prob:
            return x
        index = left.pop(0)
        rate = rates[index // masks_of_a_block]
        assert drop_prob == pytest.approx(rate)
        mask = np.array(drop_path(jnp.ones((BATCH, 1, 1, 1)), NOISE, index, rate))
        masks.append(mask)
        return x * torch.from_numpy(mask.reshape(BATCH, *[1] * (x.ndim - 1)))

    monkeypatch.setattr("timm.layers.drop.drop_path", dropped)
    monkeypatch.setattr(DropNoise, "create", lambda *_: NOISE)
    torch.manual_seed(0)
    oracle = timm.create_model(twin, num_classes=5, drop_path_rate=RATE, **options)
    variables = from_torch(name, state(randomise(oracle)), stage_depths=depths)
    model = create_model(
        name, num_classes=5, stage_depths=depths, drop_path_rate=RATE, depthwise_impl="conv"
    )
    x = images((BATCH, size, size, 3))

    def trained(variables):
        key = jax.random.key(0)
        return model.apply(
            variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]

    logits = jax.jit(trained, compiler_options=QUICKLY)(variables)
    oracle.train()
    with torch.no_grad():
        expected = oracle(torch.from_numpy(np.moveaxis(np.array(x), -1, 1).copy())).numpy()
    assert not left
    assert 0 < np.count_nonzero(masks) < np.size(masks)
    assert relative_error(logits, expected) < 1e-5
