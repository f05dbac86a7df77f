"""Networks that timm does not have, assembled from its parts and restated ones."""

import jax
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.convert import from_torch, to_torch
from tests.convert.test_convnext_names import authors_names
from tests.models.oracle import images, logits_of, randomise, relative_error, state

QUICKLY = {"xla_backend_optimization_level": 0}


def isotropic(block, dim, depth, num_classes):
    """Patches of 16, blocks, mean, LayerNorm, linear layer; names as in our tables."""
    import torch
    from torch import nn

    class Isotropic(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, dim, 16, 16)
            self.blocks = nn.Sequential(*(block(dim) for _ in range(depth)))
            self.norm = nn.LayerNorm(dim, eps=1e-6)
            self.head = nn.Linear(dim, num_classes)

        def forward(self, x):
            return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))

    torch.manual_seed(0)
    return randomise(Isotropic())


def inceptionnext_names(state_dict):
    prefixes = (("stem.", "stem.0."), ("blocks.", "stages.0.blocks."), ("norm.", "head.norm."))
    prefixes += (("head.", "head.fc."),)

    def renamed(key):
        old, new = next(pair for pair in prefixes if key.startswith(pair[0]))
        return new + key.removeprefix(old)

    return {renamed(key): value for key, value in state_dict.items()}


def assert_equal(name, oracle, state_dict, size, depths):
    x = images((2, *size, 3))
    variables = from_torch(name, state_dict, stage_depths=depths)
    back = to_torch(name, variables, stage_depths=depths)
    assert sorted(back) == sorted(state_dict)
    for key, value in back.items():
        np.testing.assert_array_equal(value, state_dict[key], err_msg=key)
    model = create_model(name, num_classes=5, stage_depths=depths, depthwise_impl="conv")
    logits = jax.jit(lambda v: model.apply(v, x), compiler_options=QUICKLY)(variables)
    assert relative_error(logits, logits_of(oracle, x)) < 1e-5


@pytest.mark.parametrize(("size", "scale"), [("small", None), ("large", 1.0)])
def test_isotropic_convnext_equals_timms_blocks(timm, size, scale):
    from timm.models.convnext import ConvNeXtBlock

    dim = {"small": 384, "large": 1024}[size]
    oracle = isotropic(lambda dim: ConvNeXtBlock(dim, ls_init_value=scale), dim, 2, 5)
    assert_equal(f"convnext_{size}_iso", oracle, authors_names(state(oracle)), (70, 97), (2,))


def test_isotropic_inceptionnext_equals_timms_blocks(timm):
    from timm.models.inception_next import MetaNeXtBlock

    oracle = isotropic(lambda dim: MetaNeXtBlock(dim, ls_init_value=0), 384, 2, 5)
    state_dict = inceptionnext_names(state(oracle))
    assert_equal("inceptionnext_small_iso", oracle, state_dict, (70, 97), (2,))


def test_metanext_with_attention_equals_timms_attention_in_its_block(timm):
    from timm.layers import Attention
    from timm.models.inception_next import MetaNeXtBlock

    class Mixer(Attention):
        def __init__(self, dim, **options):
            super().__init__(dim, num_heads=dim // 64, qkv_bias=True)

        def forward(self, x):
            tokens = super().forward(x.flatten(2).transpose(1, 2))
            return tokens.transpose(1, 2).reshape(x.shape)

    def block(dim):
        return MetaNeXtBlock(dim, token_mixer=Mixer, ls_init_value=0)

    oracle = isotropic(block, 384, 3, 5)
    state_dict = inceptionnext_names(state(oracle))
    assert "stages.0.blocks.2.token_mixer.qkv.bias" in state_dict
    assert_equal("metanext_attn_small_iso", oracle, state_dict, (70, 97), (3,))


def test_network_of_partial_convolutions_equals_torchs(timm):
    import torch
    from torch import nn

    class Partial(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.kept, width = dim - dim // 4, dim // 4
            self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

        def forward(self, x):
            return torch.cat([x[:, : self.kept], self.conv(x[:, self.kept :])], dim=1)

    torch.manual_seed(0)
    oracle = timm.create_model("convnext_tiny", depths=(1, 1, 2, 1), num_classes=5)
    for stage in oracle.stages:
        for block in stage.blocks:
            block.conv_dw = Partial(block.conv_dw.in_channels)
    randomise(oracle)
    state_dict = authors_names(state(oracle))
    assert "stages.2.1.dwconv.conv.weight" in state_dict
    assert_equal("convnext_tiny_k3_par4", oracle, state_dict, (70, 97), (1, 1, 2, 1))


@pytest.mark.parametrize(
    ("name", "twin", "options"),
    [
        ("convnext_tiny_k5", "convnext_tiny", {"kernel_sizes": 5}),
        ("inceptionnext_tiny_band7", "inception_next_tiny", {"band_kernel_size": 7}),
        ("inceptionnext_tiny_ratio4", "inception_next_tiny", {"branch_ratio": 1 / 4}),
    ],
)
def test_other_sizes_of_kernels_and_branches_equal_timm(timm, name, twin, options):
    import functools

    import torch
    from timm.models.inception_next import InceptionDWConv2d

    if "inception" in twin:
        options = {"token_mixers": functools.partial(InceptionDWConv2d, **options)}
    torch.manual_seed(0)
    oracle = timm.create_model(twin, num_classes=5, depths=(1, 1, 1, 1), **options)
    assert_equal(name, randomise(oracle), state(oracle), (70, 97), (1, 1, 1, 1))
