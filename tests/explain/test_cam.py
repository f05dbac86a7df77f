"""Class maps equal those of PyTorch hooks on timm's networks with the same weights."""

import numpy as np
import pytest
from flax import linen as nn

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.explain.cam import class_maps, layers
from inceptionnext_jax.explain.heat import enlarged, normalised
from inceptionnext_jax.explain.images import explain_images
from inceptionnext_jax.pretrained import Preprocessing, Pretrained
from tests.models.oracle import images, random_variables, randomised, state, to_nchw

DEPTHS, CLASSES = (1, 1, 2, 1), 6
LAYERS = ["stages_3", "stages_2/blocks_0", "stages_1/blocks_0/{mixer}", "stem"]
ALL = [(layer, method) for layer in LAYERS for method in ("gradcam", "gradcam++")]
QUICK = [ALL[0], ALL[1], ALL[5], ALL[6]]  # of InceptionNeXt; the others are slow


def hooked(model, module, x, classes):
    """(activations, gradients of the chosen logits) at a module, [B, C, h, w] each."""
    seen = {}

    def keep(module, inputs, output):
        output.retain_grad()
        seen["output"] = output

    handle = module.register_forward_hook(keep)
    logits = model(x)
    chosen = logits.argmax(1) if classes is None else classes
    for row, k in zip(logits, chosen, strict=True):
        row[k].backward(retain_graph=True)
    handle.remove()
    return seen["output"].detach(), seen["output"].grad, chosen


def gradcam(a, g):
    weights = g.mean((2, 3), keepdim=True)
    return (weights * a).sum(1).relu()


def gradcam_plus_plus(a, g):
    """Equation 19, position by position; the denominator is at least that of a map of zeros, as
    it always is behind a ReLU."""
    import torch

    cubes = a.sum((2, 3), keepdim=True) * g**3
    denominator = torch.maximum(2 * g**2 + cubes, 2 * g**2)
    alpha = torch.where(g == 0, 0.0, g**2 / denominator)
    alpha = torch.where(torch.isfinite(alpha), alpha, 0.0)
    weights = (alpha * g.relu()).sum((2, 3), keepdim=True)
    return (weights * a).sum(1).relu()


def twins(timm, name):
    """(our network, its variables, timm's network) with the same weights."""
    options = {"stage_depths": DEPTHS}
    oracle = randomised(timm, name, CLASSES, depths=DEPTHS)
    variables = from_torch(name, state(oracle), **options)
    ours = inx.create_model(name, num_classes=CLASSES, depthwise_impl="conv", **options)
    return ours, variables, oracle


@pytest.mark.parametrize(
    ("name", "layer", "method"),
    [
        pytest.param(
            name, *pair, marks=[] if name.startswith("inc") and pair in QUICK else pytest.mark.slow
        )
        for name in ("inceptionnext_atto", "convnext_atto")
        for pair in ALL
    ],
)
def test_maps_equal_hooks_on_timm(timm, name, layer, method):
    import torch

    ours, variables, oracle = twins(timm, name)
    mixer = "token_mixer" if ours.norm == "batch" else "conv_dw"
    layer = layer.format(mixer=mixer)
    x = 3 * images((CLASSES, 64, 64, 3)) + images((CLASSES, 1, 1, 3), seed=2)
    classes = None if layer == "stem" else np.arange(CLASSES)
    found = class_maps(ours, variables, x, layer, method, classes)
    module = oracle.get_submodule(
        layer.replace("stages_", "stages.").replace("/blocks_", ".blocks.").replace("/", ".")
    )
    asked = None if classes is None else torch.from_numpy(classes)
    a, g, chosen = hooked(oracle, module, to_nchw(x), asked)
    expected = (gradcam if method == "gradcam" else gradcam_plus_plus)(a, g).numpy()
    np.testing.assert_array_equal(found.classes, chosen)
    assert found.maps.shape == expected.shape
    assert (expected.max((1, 2)) > 0).any()
    np.testing.assert_allclose(found.maps, expected, atol=1e-4 * expected.max())


OTHERS = {  # the last stage in timm, and its output as [B, C, h, w]
    "resnet50": ("layer4", lambda a: a),
    "swin_tiny": ("layers.3", lambda a: a.permute(0, 3, 1, 2)),
    "deit_small": ("blocks.1.norm1", lambda a: a[:, 1:].mT.unflatten(2, (4, 4))),
    "vanillanet_5": ("stages.2", lambda a: a),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
@pytest.mark.parametrize("name", OTHERS)
def test_maps_at_the_default_layer_equal_hooks_in_other_families(timm, name, method):
    """Families that the papers' figures compare; patches and windows are laid out as maps."""
    import torch

    from tests.models import torch_vanillanet
    from tests.models.comparators import SHALLOW, shallow

    if name == "vanillanet_5":
        oracle, options = torch_vanillanet.make((512, 1024, 2048, 4096), (2, 2, 2)), {}
    else:
        oracle, options = shallow(timm, name), {"stage_depths": SHALLOW[name][0]}
    variables = from_torch(name, state(oracle), **options)
    ours = inx.create_model(name, num_classes=5, **options)
    x = 3 * images((5, 64, 64, 3)) + images((5, 1, 1, 3), seed=2)
    found = class_maps(ours, variables, x, method=method, classes=np.arange(5))
    module, as_map = OTHERS[name]
    a, g, _ = hooked(oracle, oracle.get_submodule(module), to_nchw(x), torch.arange(5))
    expected = (gradcam if method == "gradcam" else gradcam_plus_plus)(as_map(a), as_map(g))
    assert (expected.amax((1, 2)) > 0).any()
    np.testing.assert_allclose(found.maps, expected, atol=1e-4 * expected.max().item())


def test_only_maps_are_layers():
    """Rows of tokens and windows of attention, which would look like stripes, are left out."""
    for name in ("deit_small", "swin_tiny", "metanext_attn_small_iso"):
        shapes = layers(inx.create_model(name), 224)
        assert all(h == w for h, w, _ in shapes.values()), name
    assert layers(inx.create_model("deit_small"), 224)["stages_0/blocks_3"] == (14, 14, 384)


class Rectified(nn.Module):
    """A network with non-negative maps, as in both papers."""

    @nn.compact
    def __call__(self, x, train=False):
        for dim in (8, 16):
            x = nn.relu(nn.Conv(dim, (3, 3), 2, padding=1)(x))
            x = Keep(name=f"map_{dim}")(x)
        x = nn.relu(nn.Dense(12)(x.mean((1, 2))))
        return nn.Dense(5)(x)


class Keep(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_maps_of_rectified_networks_follow_the_papers_formulas(timm, method):
    """Without guards, and with a gradient that varies over positions."""
    import torch
    from torch import nn as tnn

    torch.manual_seed(0)
    convs = [tnn.Conv2d(3, 8, 3, 2, 1), tnn.Conv2d(8, 16, 3, 2, 1)]
    body = tnn.Sequential(convs[0], tnn.ReLU(), convs[1], tnn.ReLU())
    denses = [tnn.Linear(16, 12), tnn.Linear(12, 5)]
    pool = tnn.Sequential(tnn.AdaptiveAvgPool2d(1), tnn.Flatten())
    theirs = tnn.Sequential(*body, pool, denses[0], tnn.ReLU(), denses[1])
    params = {
        **{
            f"Conv_{i}": {"kernel": c.weight.permute(2, 3, 1, 0), "bias": c.bias}
            for i, c in enumerate(convs)
        },
        **{f"Dense_{i}": {"kernel": d.weight.T, "bias": d.bias} for i, d in enumerate(denses)},
    }
    variables = {
        "params": {k: {n: t.detach().numpy() for n, t in v.items()} for k, v in params.items()}
    }
    x = images((2, 16, 16, 3))
    for layer, module in (("map_8", theirs[1]), ("map_16", theirs[3])):
        a, g, _ = hooked(theirs, module, to_nchw(x), torch.tensor([1, 3]))
        if method == "gradcam":
            expected = gradcam(a, g)
        else:
            alpha = g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3)
            alpha[g == 0] = 0
            expected = ((alpha * g.relu()).sum((2, 3), keepdim=True) * a).sum(1).relu()
        found = class_maps(Rectified(), variables, x, layer, method, np.array([1, 3]))
        np.testing.assert_allclose(found.maps, expected.numpy(), rtol=1e-4, atol=1e-7)


def test_a_denominator_near_zero_gives_no_heat():
    """The paper's alpha has a pole at g ΣA = -2."""
    from inceptionnext_jax.explain.cam import _gradcam_plus_plus

    gradients = np.full((2, 2, 1), 0.5, np.float32)
    for total in (-4.0, -4.0 - 1e-6, -100.0, 0.0):
        activations = np.full((2, 2, 1), total / 4, np.float32)
        activations[0, 0], activations[1, 1] = total / 4 + 1, total / 4 - 1
        heat = np.asarray(_gradcam_plus_plus(activations, gradients))
        assert np.isfinite(heat).all()
        assert heat.max() <= max(1, (total / 4 + 1))
    assert not np.asarray(_gradcam_plus_plus(activations, 0 * gradients)).any()


def test_layers_are_found_and_unknown_ones_refused():
    model = inx.create_model("inceptionnext_atto", num_classes=3, stage_depths=DEPTHS)
    shapes = layers(model, 64)
    assert shapes["stages_3"] == (2, 2, 320)
    assert shapes["stages_2/blocks_1/mlp/fc1"][:2] == (4, 4)
    assert not any(path.startswith("head") for path in shapes)
    fine = layers(inx.create_model("inceptionnext_atto", output_stride=8), 64)
    assert fine["stages_3"] == (8, 8, 320)
    x = images((1, 64, 64, 3))
    with pytest.raises(UserError, match=r"layer='stages_4' gives no map.*did you mean stages_"):
        class_maps(model, {}, x, "stages_4")
    with pytest.raises(UserError, match="layer='head'"):
        class_maps(model, {}, x, "head")
    with pytest.raises(UserError, match="did you mean gradcam"):
        class_maps(model, {}, x, method="grad-cam")


def test_batches_and_enlargement_do_not_change_maps(timm):
    """Eleven images are two batches; enlargement is PyTorch's bilinear interpolation."""
    import torch

    options = {"stage_depths": (1, 1, 1, 1), "depthwise_impl": "conv"}
    name = "inceptionnext_atto"
    variables = random_variables(inx.create_model(name, num_classes=3, **options))
    before = Preprocessing(64, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    network = Pretrained(name, variables, options, before)
    pixels = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8)
    found = explain_images(network, pixels, "stages_1")
    assert found.maps.shape == (11, 8, 8)
    alone = explain_images(network, pixels[9:10], "stages_1")
    np.testing.assert_allclose(found.maps[9:10], alone.maps, rtol=1e-4, atol=1e-6)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(found.maps)[:, None], (64, 64), mode="bilinear"
    )[:, 0]
    np.testing.assert_allclose(found.heat, expected, atol=1e-5 * found.maps.max())
    logits = network.model.apply(variables, ((pixels[:2] / 255 - 0.5) / 0.5).astype(np.float32))
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(found.probabilities[:2], chances.max(-1), rtol=1e-4)
    np.testing.assert_array_equal(found.classes[:2], logits.argmax(-1))
    with pytest.raises(UserError, match="class 3 does not exist"):
        explain_images(network, pixels, target=3)


def test_maps_without_heat_are_normalised_to_zeros():
    maps = np.stack([np.zeros((2, 2)), np.arange(4.0).reshape(2, 2)]).astype(np.float32)
    heat = normalised(enlarged(maps, 4))
    assert not heat[0].any()
    assert (heat[1].min(), heat[1].max()) == (0, 1)
