"""VanillaNet restated in PyTorch, in the authors' names, because timm does not have it."""

import torch
from torch import nn
from torch.nn import functional

from tests.models.oracle import randomise


def conv_norm(inputs, outputs, **options):
    options = {"kernel_size": 1} | options
    return [nn.Conv2d(inputs, outputs, **options), nn.BatchNorm2d(outputs, eps=1e-6)]


class Act(nn.Module):
    def __init__(self, dim, n, deployed):
        super().__init__()
        self.n, self.bias = n, nn.Parameter(torch.zeros(dim)) if deployed else None
        self.weight = nn.Parameter(0.2 * torch.randn(dim, 1, 2 * n + 1, 2 * n + 1))
        self.bn = nn.Identity() if deployed else nn.BatchNorm2d(dim, eps=1e-6)

    def forward(self, x):
        y = functional.conv2d(x.relu(), self.weight, self.bias, padding=self.n, groups=x.shape[1])
        return self.bn(y)


class Stage(nn.Module):
    def __init__(self, inputs, outputs, pool, n, deployed):
        super().__init__()
        if deployed:
            self.conv = nn.Conv2d(inputs, outputs, 1)
        else:
            self.conv1 = nn.Sequential(*conv_norm(inputs, inputs))
            self.conv2 = nn.Sequential(*conv_norm(inputs, outputs))
        self.pool, self.act = pool, Act(outputs, n, deployed)

    def forward(self, x, slope):
        if hasattr(self, "conv"):
            return self.act(self.pool(self.conv(x)))
        return self.act(self.pool(self.conv2(functional.leaky_relu(self.conv1(x), slope))))


class VanillaNet(nn.Module):
    """dims: channels of the stem, then of each layer. pools: None, 2 to halve, or ("to", size)."""

    def __init__(self, dims, pools, num_classes, n=3, stem=None, deployed=False):
        super().__init__()
        stem = {"kernel_size": 4, "stride": 4} | (stem or {})
        self.slope = 1.0
        if deployed:
            self.stem = nn.Sequential(nn.Conv2d(3, dims[0], **stem), Act(dims[0], n, True))
            self.cls = nn.ModuleDict({"2": nn.Conv2d(dims[-1], num_classes, 1)})
        else:
            self.stem1 = nn.Sequential(*conv_norm(3, dims[0], **stem))
            self.stem2 = nn.Sequential(*conv_norm(dims[0], dims[0]), Act(dims[0], n, False))
            conv, norm = conv_norm(dims[-1], num_classes)
            self.cls1 = nn.ModuleDict({"2": conv, "3": norm})
            self.cls2 = nn.Sequential(nn.Conv2d(num_classes, num_classes, 1))
        self.stages = nn.ModuleList(
            Stage(dims[i], dims[i + 1], self._pool(pool), n, deployed)
            for i, pool in enumerate(pools)
        )

    @staticmethod
    def _pool(pool):
        if pool is None:
            return nn.Identity()
        return nn.MaxPool2d(2) if pool == 2 else nn.AdaptiveMaxPool2d(pool[1])

    def forward(self, x):
        if hasattr(self, "stem"):
            x = self.stem(x)
        else:
            x = self.stem2(functional.leaky_relu(self.stem1(x), self.slope))
        for stage in self.stages:
            x = stage(x, self.slope)
        x = x.mean((2, 3), keepdim=True)
        if hasattr(self, "cls"):
            return self.cls["2"](x).flatten(1)
        x = self.cls1["3"](self.cls1["2"](x))
        return self.cls2(functional.leaky_relu(x, self.slope)).flatten(1)


def make(dims, pools, num_classes=5, seed=0, **options):
    """Returns a network with random weights and statistics, in evaluation."""
    torch.manual_seed(seed)
    model = randomise(VanillaNet(dims, pools, num_classes, **options))
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value[0] = 1e-3  # so small that the norms' epsilon matters
    return model
