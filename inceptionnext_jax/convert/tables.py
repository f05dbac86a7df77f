"""Where each module of a family lies in PyTorch's state dict, and how its arrays are laid out.

A table is the whole description of a family's conversion under one naming; both directions read the
same one. Families whose authors and timm chose different names have a table for each.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from inceptionnext_jax.errors import UserError


class Leaf(NamedTuple):
    """One array of a module.

    Attributes:
      name: In PyTorch.
      from_torch: From PyTorch's layout to ours.
      to_torch: Back.
    """

    name: str
    from_torch: Callable[[np.ndarray], np.ndarray] = lambda array: array
    to_torch: Callable[[np.ndarray], np.ndarray] = lambda array: array


class Rule(NamedTuple):
    """One kind of module.

    Attributes:
      ours: Pattern of the module's path in our tree, parts joined by "/".
      theirs: Its PyTorch name as a template for the match, or a function of the match.
      leaves: Its arrays by our names.
    """

    ours: str
    theirs: str | Callable[[re.Match[str]], str]
    leaves: dict[str, Leaf]


CONV = {
    "kernel": Leaf("weight", lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),
    "bias": Leaf("bias"),
}
LINEAR = {
    "kernel": Leaf("weight", np.transpose, np.transpose),
    "bias": Leaf("bias"),
}
# A 1×1 convolution there, a matrix product here.
POINTWISE = {
    "kernel": Leaf("weight", lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None]),
    "bias": Leaf("bias"),
}
LAYER_NORM = {"scale": Leaf("weight"), "bias": Leaf("bias")}
BATCH_NORM = {**LAYER_NORM, "mean": Leaf("running_mean"), "var": Leaf("running_var")}
LAYER_SCALE = {"gamma": Leaf("gamma")}


def _block(ours: str, theirs: str, leaves: dict[str, Leaf]) -> Rule:
    """A rule for a module within each block, in timm's names."""
    return Rule(rf"stages_(\d+)/blocks_(\d+){ours}", rf"stages.\1.blocks.\2{theirs}", leaves)


def _outer(norm: dict[str, Leaf]) -> tuple[Rule, ...]:
    """timm's names outside of blocks."""
    return (
        Rule(r"stem/conv", r"stem.0", CONV),
        Rule(r"stem/norm", r"stem.1", norm),
        Rule(r"stages_(\d+)/downsample/norm", r"stages.\1.downsample.0", norm),
        Rule(r"stages_(\d+)/downsample/conv", r"stages.\1.downsample.1", CONV),
        Rule(r"head/(fc[12]?)", r"head.\1", LINEAR),
        Rule(r"head/norm", r"head.norm", LAYER_NORM),
    )


# The authors' code and timm use the same names. Isotropic networks and those with attention, which
# neither has, are named alike.
INCEPTIONNEXT = (
    *_outer(BATCH_NORM),
    _block("", "", LAYER_SCALE),
    _block(r"/token_mixer/(dwconv_\w+)", r".token_mixer.\3", CONV),
    _block(r"/token_mixer/(qkv|proj)", r".token_mixer.\3", LINEAR),
    _block(r"/norm", r".norm", BATCH_NORM),
    _block(r"/mlp/(fc[12])", r".mlp.\3", POINTWISE),
)


def _convnext_timm(fc: dict[str, Leaf]) -> tuple[Rule, ...]:
    """ConvNeXt in timm's names; its MLPs are linear layers or, in the smallest, convolutions."""
    return (
        *_outer(LAYER_NORM),
        _block("", "", LAYER_SCALE),
        _block(r"/conv_dw", r".conv_dw", CONV),
        _block(r"/norm", r".norm", LAYER_NORM),
        _block(r"/mlp/(fc[12])", r".mlp.\3", fc),
    )


CONVNEXT = _convnext_timm(LINEAR)
CONVNEXT_CONV_MLP = _convnext_timm(POINTWISE)


def _convnext_blocks(ours: str, theirs: str, dwconv: str = ".dwconv") -> tuple[Rule, ...]:
    """The authors' names within blocks, whose paths are `ours` and `theirs`, and of the head."""
    return (
        Rule(ours, theirs, LAYER_SCALE),
        Rule(rf"{ours}/conv_dw", rf"{theirs}{dwconv}", CONV),
        Rule(rf"{ours}/norm", rf"{theirs}.norm", LAYER_NORM),
        Rule(rf"{ours}/mlp/fc1", rf"{theirs}.pwconv1", LINEAR),
        Rule(rf"{ours}/mlp/fc2", rf"{theirs}.pwconv2", LINEAR),
        Rule(r"head/norm", r"norm", LAYER_NORM),
        Rule(r"head/fc", r"head", LINEAR),
    )


def _convnext_authors(dwconv: str = ".dwconv") -> tuple[Rule, ...]:
    return (
        Rule(r"stem/conv", r"downsample_layers.0.0", CONV),
        Rule(r"stem/norm", r"downsample_layers.0.1", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/norm", r"downsample_layers.\1.0", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/conv", r"downsample_layers.\1.1", CONV),
        *_convnext_blocks(r"stages_(\d+)/blocks_(\d+)", r"stages.\1.\2", dwconv),
    )


CONVNEXT_AUTHORS = _convnext_authors()
# The preliminary study of InceptionNeXt's authors; there is no other code with these networks.
CONVNEXT_PARTIAL = _convnext_authors(".dwconv.conv")
CONVNEXT_ISOTROPIC = (
    Rule(r"stem/conv", r"stem", CONV),
    *_convnext_blocks(r"stages_0/blocks_(\d+)", r"blocks.\1"),
)


def _numbered(ours: str, template: str, leaves: dict[str, Leaf]) -> Rule:
    """A rule for a module within each block whose stages, and perhaps blocks, count from 1."""

    def theirs(match: re.Match[str]) -> str:
        stage, block, *rest = match.groups()
        return template.format(*rest, stage=int(stage) + 1, block=int(block), next=int(block) + 1)

    return Rule(rf"stages_(\d+)/blocks_(\d+)/{ours}", theirs, leaves)


def _resnet(*stem: Rule) -> tuple[Rule, ...]:
    """timm's and torchvision's names, with a stem of one's own."""
    place = "layer{stage}.{block}"
    return (
        *stem,
        _numbered(r"conv(\d)/conv", place + ".conv{}", CONV),
        _numbered(r"conv(\d)/norm", place + ".bn{}", BATCH_NORM),
        _numbered(r"downsample/conv", place + ".downsample.0", CONV),
        _numbered(r"downsample/norm", place + ".downsample.1", BATCH_NORM),
        Rule(r"head/fc", r"fc", LINEAR),
    )


RESNET = _resnet(
    Rule(r"stem/conv/conv", r"conv1", CONV), Rule(r"stem/conv/norm", r"bn1", BATCH_NORM)
)
# In the code of the paper's submission the stem is a module of its own.
ROADMAP = _resnet(Rule(r"stem/conv", r"stem", CONV))
REGNET = (
    Rule(r"stem/conv/conv", r"stem.conv", CONV),
    Rule(r"stem/conv/norm", r"stem.bn", BATCH_NORM),
    _numbered(r"(conv\d|downsample)/conv", "s{stage}.b{next}.{}.conv", CONV),
    _numbered(r"(conv\d|downsample)/norm", "s{stage}.b{next}.{}.bn", BATCH_NORM),
    _numbered(r"se/(fc\d)", "s{stage}.b{next}.se.{}", POINTWISE),
    Rule(r"head/fc", r"head.fc", LINEAR),
)
POOLFORMER = (
    Rule(r"stem/conv", r"stem.conv", CONV),
    Rule(r"stages_(\d+)/downsample/conv", r"stages.\1.downsample.conv", CONV),
    _block(r"/(norm\d)", r".\3", LAYER_NORM),
    _block(r"/mlp/(fc\d)", r".mlp.\3", POINTWISE),
    _block(r"/(layer_scale\d)", r".\3", {"gamma": Leaf("scale")}),
    Rule(r"head/norm", r"head.norm", LAYER_NORM),
    Rule(r"head/fc", r"head.fc", LINEAR),
)


def _transformer(place: str) -> tuple[Rule, ...]:
    """timm's names within the blocks of Transformers, whose path is `place`."""
    block = r"stages_(\d+)/blocks_(\d+)"
    tables = {"relative_position_bias_table": Leaf("relative_position_bias_table")}
    return (
        Rule(rf"{block}/(norm\d)", rf"{place}.\3", LAYER_NORM),
        Rule(rf"{block}/attn", rf"{place}.attn", tables),
        Rule(rf"{block}/attn/(qkv|proj)", rf"{place}.attn.\3", LINEAR),
        Rule(rf"{block}/mlp/(fc\d)", rf"{place}.mlp.\3", LINEAR),
        Rule(r"stem/conv", r"patch_embed.proj", CONV),
        Rule(r"head/norm", r"norm", LAYER_NORM),
    )


VIT = (
    *_transformer(r"blocks.\2"),
    Rule(r"stem", r"", {name: Leaf(name) for name in ("cls_token", "pos_embed")}),
    Rule(r"head/fc", r"head", LINEAR),
)
SWIN = (
    *_transformer(r"layers.\1.blocks.\2"),
    Rule(r"stem/norm", r"patch_embed.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/norm", r"layers.\1.downsample.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/(reduction)", r"layers.\1.downsample.\2", LINEAR),
    Rule(r"head/fc", r"head.fc", LINEAR),
)
# The authors' names, in training and deployed.
VANILLANET = (
    Rule(r"stem/conv1", r"stem1.0", CONV),
    Rule(r"stem/norm1", r"stem1.1", BATCH_NORM),
    Rule(r"stem/conv2", r"stem2.0", POINTWISE),
    Rule(r"stem/norm2", r"stem2.1", BATCH_NORM),
    Rule(r"stem/act", r"stem2.2", CONV),
    Rule(r"stem/act/norm", r"stem2.2.bn", BATCH_NORM),
    Rule(r"stages_(\d+)/conv(\d)", r"stages.\1.conv\2.0", POINTWISE),
    Rule(r"stages_(\d+)/norm(\d)", r"stages.\1.conv\2.1", BATCH_NORM),
    Rule(r"stages_(\d+)/act", r"stages.\1.act", CONV),
    Rule(r"stages_(\d+)/act/norm", r"stages.\1.act.bn", BATCH_NORM),
    Rule(r"head/fc1", r"cls1.2", POINTWISE),
    Rule(r"head/norm", r"cls1.3", BATCH_NORM),
    Rule(r"head/fc2", r"cls2.0", POINTWISE),
)
VANILLANET_DEPLOYED = (
    Rule(r"stem/conv", r"stem.0", CONV),
    Rule(r"stem/act", r"stem.1", CONV),
    Rule(r"stages_(\d+)/conv", r"stages.\1.conv", POINTWISE),
    Rule(r"stages_(\d+)/act", r"stages.\1.act", CONV),
    Rule(r"head/fc", r"cls.2", POINTWISE),
)

MLP_HEAD = ("params", "head", "fc2", "bias")
LINEAR_HEAD = ("params", "head", "fc", "bias")


class Family(NamedTuple):
    """Models that share their names.

    Attributes:
      pattern: Of the models' names.
      namings: Tables, each of all the names; the first is timm's where timm has the models.
      classifier: Our path of the classifier's bias.
      official: Which of `namings` the authors use.
      implied: Our paths of arrays that those files lack, and the value that they mean.
    """

    pattern: str
    namings: tuple[tuple[Rule, ...], ...]
    classifier: tuple[str, ...]
    official: int = 0
    implied: Mapping[tuple[str, ...], float] = MappingProxyType({})

    def naming(self, layout: str) -> tuple[Rule, ...]:
        """Returns the table of a layout in `LAYOUTS`; raises UserError for another."""
        if layout not in LAYOUTS:
            raise UserError(f"layout={layout!r} is unknown, expected one of {', '.join(LAYOUTS)}")
        return self.namings[self.official if layout == "official" else 0]


LAYOUTS = ("timm", "official")


FAMILIES = (
    Family(r"(inceptionnext|metanext)_\w+_iso", (INCEPTIONNEXT,), LINEAR_HEAD),
    Family(r"convnext_\w+_iso", (CONVNEXT_ISOTROPIC,), LINEAR_HEAD),
    Family(r"convnext_\w+_par\w+", (CONVNEXT_PARTIAL,), LINEAR_HEAD),
    Family(r"inceptionnext_\w+", (INCEPTIONNEXT,), MLP_HEAD),
    Family(r"convnext_atto", (CONVNEXT_CONV_MLP, CONVNEXT, CONVNEXT_AUTHORS), LINEAR_HEAD, 2),
    Family(
        r"convnext_\w+|roadmap_13_convnext_tiny",
        (CONVNEXT, CONVNEXT_AUTHORS, CONVNEXT_CONV_MLP),
        LINEAR_HEAD,
        1,
    ),
    Family(r"resnet\d+|roadmap_0[012]_\w+", (RESNET,), LINEAR_HEAD),
    Family(r"roadmap_\w+", (ROADMAP,), LINEAR_HEAD),
    Family(r"regnety_\w+", (REGNET,), LINEAR_HEAD),
    Family(r"poolformer_\w+", (POOLFORMER,), LINEAR_HEAD),
    Family(r"(deit|vit)_\w+", (VIT,), LINEAR_HEAD),
    Family(r"swin_\w+", (SWIN,), LINEAR_HEAD),
    Family(r"vanillanet_\w+", (VANILLANET,), MLP_HEAD, implied={("batch_stats", "slope"): 1.0}),
)
# Of networks whose deployed form is another network.
DEPLOYED = (Family(r"vanillanet_\w+", (VANILLANET_DEPLOYED,), LINEAR_HEAD),)


def family(name: str, deployed: bool = False) -> Family:
    """Returns the first family that a model's name fits.

    deployed: look for the names of deployed forms.

    Raises:
      UserError: There is none.
    """
    for candidate in DEPLOYED if deployed else FAMILIES:
        if re.fullmatch(candidate.pattern, name):
            return candidate
    what = "deployed model" if deployed else "model"
    raise UserError(f"{what} {name!r} has no table of PyTorch names; add one to convert/tables.py")


def locate(table: tuple[Rule, ...], path: tuple[str, ...]) -> tuple[str, Leaf]:
    """Returns the PyTorch name and layout of the array at `path` ("stem", "conv", "kernel").

    Raises:
      UserError: No rule covers it.
    """
    module, name = "/".join(path[:-1]), path[-1]
    for rule in table:
        match = re.fullmatch(rule.ours, module)
        if match and name in rule.leaves:
            leaf = rule.leaves[name]
            theirs = rule.theirs
            theirs = match.expand(theirs) if isinstance(theirs, str) else theirs(match)
            return f"{theirs}.{leaf.name}".removeprefix("."), leaf
    raise UserError(f"no rule converts {module}/{name}; add one to convert/tables.py")
