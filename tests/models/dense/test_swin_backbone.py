"""Swin as a backbone at any size, against timm's layers in mmsegmentation's order."""

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch
from tests.models.oracle import images, randomised, relative_error, state, to_nchw

DEPTHS = (2, 2, 2, 2)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def theirs(timm):
    name = "swin_tiny_patch4_window7_224"
    options = {"depths": DEPTHS, "strict_img_size": False, "always_partition": True}
    return randomised(timm, name, num_classes=3, **options)


@pytest.fixture(scope="module")
def ours(theirs):
    variables = from_torch("swin_tiny", state(theirs), stage_depths=DEPTHS)
    return inx.create_model("swin_tiny", num_classes=3, stage_depths=DEPTHS), variables


def shifted_attention(block, x):
    """mmsegmentation's ShiftWindowMSA: pad at the end, shift with a mask, and both back."""
    import torch
    from timm.models.swin_transformer import window_partition, window_reverse

    (_, H, W, C), s = x.shape, block.shift_size[0]
    x = torch.nn.functional.pad(x, (0, 0, 0, -W % 7, 0, -H % 7))
    padded = x.shape[1:3]
    x = torch.roll(x, (-s, -s), (1, 2))
    windows = window_partition(x, (7, 7)).view(-1, 49, C)
    windows = block.attn(windows, mask=block.get_attn_mask(x) if s else None)
    x = window_reverse(windows.view(-1, 7, 7, C), (7, 7), *padded)
    return torch.roll(x, (s, s), (1, 2))[:, :H, :W]


def maps_of(theirs, x):
    """mmsegmentation's backbone without the norms of its outputs."""
    import torch

    x, maps = to_nchw(x), []
    x = torch.nn.functional.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
    with torch.no_grad():
        x = theirs.patch_embed(x)
        for stage in theirs.layers:
            x = stage.downsample(x)
            for block in stage.blocks:
                x = x + shifted_attention(block, block.norm1(x))
                x = x + block.mlp(block.norm2(x))
            maps.append(x.numpy())
    return maps


@pytest.mark.parametrize("size", [(224, 224), (256, 320), (250, 330), (96, 64), (33, 47)])
def test_maps_are_mmsegmentations_at_any_size(ours, theirs, size):
    model, variables = ours
    x = images((1, *size, 3))
    backbone = model.as_backbone()
    found = jax.jit(lambda v, x: backbone.apply(v, x, method="features"))(variables, x)
    for i, (map_, expected) in enumerate(zip(found, maps_of(theirs, x), strict=True)):
        assert map_.shape == expected.shape, i
        assert relative_error(map_, expected) < 1e-4, i


def test_a_system_has_the_backbones_windows(ours):
    """At 512 pixels the last map is larger than a window, and no multiple of one."""
    model, _ = ours
    system = inx.create_model("upernet_swin_tiny", stage_depths=DEPTHS)
    assert system.backbone == model.as_backbone().clone(num_classes=system.backbone.num_classes)
    found = jax.eval_shape(
        lambda x: system.init_with_output(jax.random.key(0), x)[0],
        jax.ShapeDtypeStruct((1, 83, 66, 3), "float32"),
    )
    assert found.shape == (1, 21, 17, 150)


def test_maps_at_other_sizes_differ_from_the_classifiers(ours):
    """Otherwise the tests above would not tell the two kinds of windows apart."""
    model, variables = ours
    x = images((1, 256, 320, 3))
    apply = jax.jit(lambda v, model: model.apply(v, x, method="features"), static_argnums=1)
    classifier, backbone = (apply(variables, net) for net in (model, model.as_backbone()))
    assert all(
        relative_error(a, np.asarray(b)) > 1e-3 for a, b in zip(classifier, backbone, strict=True)
    )
