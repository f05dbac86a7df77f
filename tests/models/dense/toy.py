"""The toy backbone of the stored OpenMMLab results, and whole systems with their weights."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from inceptionnext_jax.convert.tables import locate
from inceptionnext_jax.models.names import CONV, Rule

BACKBONE_NAMES = (Rule(r"backbone/stages_(\d)", r"backbone.stages.\1", CONV),)


class ToyBackbone(nn.Module):
    """Convolutions 4×4/4, then three times 2×2/2, each with ReLU; maps at strides 4 to 32."""

    channels: tuple[int, ...] = (8, 12, 16, 24)
    smallest_image: int = 32

    @nn.compact
    def features(self, x, train=False, positions=None):
        maps = []
        for i, channels in enumerate(self.channels):
            size = 4 if i == 0 else 2
            conv = nn.Conv(channels, (size, size), size, padding="VALID", name=f"stages_{i}")
            x = nn.relu(conv(x))
            maps.append(x)
        return tuple(maps)


def stored_variables(model, stored, table, size=64):
    """Returns the variables of a system from "weights/…" in OpenMMLab's names; all are used."""
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), image))
    located = {path: locate((*BACKBONE_NAMES, *table), path[1:]) for path in shapes}
    leaves = {
        path: leaf.from_torch(stored[f"weights/{key}"]) for path, (key, leaf) in located.items()
    }
    given = {key.removeprefix("weights/") for key in stored if key.startswith("weights/")}
    assert {key for key in given if "num_batches" not in key} == {
        key for key, _ in located.values()
    }
    assert {p: leaf.shape for p, leaf in leaves.items()} == {p: s.shape for p, s in shapes.items()}
    return unflatten_dict(leaves)
