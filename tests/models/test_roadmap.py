"""The roadmap's networks: both ends, the published curve, and a restatement of the steps between.

The restatement has the names of the code of the paper's submission.
"""

import jax
import pytest

from inceptionnext_jax import create_model, list_models, model_info
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.convert.tables import family
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.macs import count_macs, count_params
from tests.convert.test_torch_weights import assert_identical
from tests.models.oracle import images, logits_of, randomise, relative_error, state

QUICKLY = {"xla_backend_optimization_level": 0}
NAMES = list_models("roadmap_*")

# Table 10 of the paper, step by step; in G.
PRINTED = ["4.09", "4.09", "4.53", "4.42", "2.35", "5.27", "4.64", "4.07",
           "4.15", "4.15", "4.15", "4.15", "4.46", "4.49"]  # fmt: skip
# The norm of step 12 adds no product, and the last is ConvNeXt-T, whose products are 4.46 G.
NOT_RECONCILED = {12: "4.15", 13: "4.46"}


def test_there_is_one_network_per_step():
    assert [int(name.split("_")[1]) for name in NAMES] == list(range(14))


@pytest.mark.parametrize("step", range(14))
def test_macs_follow_the_published_curve(step):
    name = NAMES[step]
    info, model = model_info(name), create_model(name)
    assert (info.params, info.macs) == (count_params(model), count_macs(model, 224))
    assert f"{info.macs / 1e9:.2f}" == NOT_RECONCILED.get(step, PRINTED[step])


def test_the_ends_are_resnet50_and_convnext_tiny():
    assert create_model(NAMES[0]) == create_model(NAMES[1]) == create_model("resnet50")
    assert create_model(NAMES[13]) == create_model("convnext_tiny")
    for name, same in ((NAMES[0], "resnet50"), (NAMES[13], "convnext_tiny")):
        assert family(name).namings == family(same).namings
    depths = {"stage_depths": (3, 3, 9, 3)}
    assert create_model(NAMES[2]) == create_model("resnet50", **depths)


def restated(step, depths, num_classes=5):
    """Steps 3 to 12 in PyTorch."""
    import torch
    from torch import nn

    inverted, layer_norm = step >= 6, step >= 12
    dims = (
        [96, 192, 384, 768]
        if inverted
        else [4 * (96 if step >= 5 else 64) * 2**i for i in range(4)]
    )
    kernel = 7 if step >= 8 else 3
    act = nn.GELU() if step >= 9 else nn.ReLU()

    class Norm(nn.LayerNorm):
        def __init__(self, dim):
            super().__init__(dim, eps=1e-6)

        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    norm = Norm if layer_norm else nn.BatchNorm2d

    def spatial(dim, stride):
        groups = dim if step >= 4 else 1
        return nn.Conv2d(dim, dim, kernel, stride, kernel // 2, groups=groups, bias=layer_norm)

    class Block(nn.Module):
        def __init__(self, dim_in, dim, stride):
            super().__init__()
            width = 4 * dim if inverted else dim // 4
            last = nn.Conv2d(width, dim, 1, bias=layer_norm)
            if step >= 7:
                convs = [
                    spatial(dim_in, stride),
                    nn.Conv2d(dim_in, width, 1, bias=layer_norm),
                    last,
                ]
            else:
                convs = [nn.Conv2d(dim_in, width, 1, bias=layer_norm), spatial(width, stride), last]
            self.conv1, self.conv2, self.conv3 = convs
            self.bn1 = norm(self.conv1.out_channels)
            one = step >= 11
            self.bn2 = nn.Identity() if one else norm(width)
            self.bn3 = nn.Identity() if one else norm(dim)
            self.downsample = nn.Identity()
            if stride > 1 or dim_in != dim:
                shortcut = nn.Conv2d(dim_in, dim, 1, stride, bias=False)
                self.downsample = nn.Sequential(shortcut, norm(dim))

        def forward(self, x):
            often = act if step < 10 else nn.Identity()
            y = often(self.bn1(self.conv1(x)))
            y = act(self.bn2(self.conv2(y)))
            return often(self.bn3(self.conv3(y)) + self.downsample(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            dim_in = 96 if step >= 5 else 64
            self.stem = nn.Conv2d(3, dim_in, 4, 4)
            for i, (dim, depth) in enumerate(zip(dims, depths, strict=True), start=1):
                blocks = []
                for j in range(depth):
                    blocks.append(Block(dim_in, dim, 2 if i > 1 and j == 0 else 1))
                    dim_in = dim
                self.add_module(f"layer{i}", nn.Sequential(*blocks))
            self.fc = nn.Linear(dim_in, num_classes)

        def forward(self, x):
            x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    return randomise(Net())


@pytest.mark.parametrize("step", range(3, 13))
def test_logits_equal_a_restatement_and_those_of_the_deployed_form(step):
    name, depths, x = NAMES[step], (1, 2, 1, 1), images((2, 67, 90, 3))
    oracle = restated(step, depths)
    variables = from_torch(name, state(oracle), stage_depths=depths)
    assert_identical(to_torch(name, variables, stage_depths=depths), state(oracle))
    expected = logits_of(oracle, x)
    model = create_model(name, num_classes=5, stage_depths=depths)
    for network, arrays in ((model, variables), deploy(model, variables)):
        run = jax.jit(lambda v, network=network: network.apply(v, x), compiler_options=QUICKLY)
        assert relative_error(run(arrays), expected) < 1e-5
