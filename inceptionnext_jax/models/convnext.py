"""ConvNeXt (CVPR 2022): settings of MetaNeXt with a 7×7 depthwise convolution as token mixer.

Sizes are those of the paper's configurations (section 3) and, for atto, of timm. Against
InceptionNeXt: LayerNorm instead of BatchNorm, an MLP ratio of 4 in every stage, a linear head.
Networks for 22K classes are these with num_classes=21841.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import BLOCK, STAGE, Layers, by_block
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.names import (
    CONV,
    LAYER_NORM,
    LAYER_SCALE,
    LINEAR,
    POINTWISE,
    Leaf,
    Rule,
    Table,
    backbone_rules,
    block_rule,
    metanext_rules,
)
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.reported import Report

CONVNEXT: dict[str, Any] = {
    "mlp_ratios": (4, 4, 4, 4),
    "token_mixer": "depthwise",
    "mixer_name": "conv_dw",
    "norm": "layer",
    "head": "linear",
}


def _timm_names(fc: dict[str, Leaf]) -> Table:
    """timm's names; MLPs are linear layers there or, in the smallest network, convolutions."""
    return (
        *metanext_rules(LAYER_NORM),
        block_rule("", "", LAYER_SCALE),
        block_rule(r"/conv_dw", r".conv_dw", CONV),
        block_rule(r"/norm", r".norm", LAYER_NORM),
        block_rule(r"/mlp/(fc[12])", r".mlp.\3", fc),
    )


def author_block_names(ours: str, theirs: str, dwconv: str = ".dwconv") -> Table:
    """Returns the authors' names within blocks, whose paths are `ours` and `theirs`, and heads."""
    return (
        Rule(ours, theirs, LAYER_SCALE),
        Rule(rf"{ours}/conv_dw", rf"{theirs}{dwconv}", CONV),
        Rule(rf"{ours}/norm", rf"{theirs}.norm", LAYER_NORM),
        Rule(rf"{ours}/mlp/fc1", rf"{theirs}.pwconv1", LINEAR),
        Rule(rf"{ours}/mlp/fc2", rf"{theirs}.pwconv2", LINEAR),
        Rule(r"head/norm", r"norm", LAYER_NORM),
        Rule(r"head/fc", r"head", LINEAR),
    )


def _mmpretrain_names() -> Table:
    """The names of mmsegmentation 1.x, whose ConvNeXt is mmpretrain's."""
    names = {"dwconv": "depthwise_conv", "pwconv1": "pointwise_conv1", "pwconv2": "pointwise_conv2"}

    def renamed(rule: Rule) -> Rule:
        before, dot, last = str(rule.theirs).rpartition(".")
        return rule._replace(theirs=before + dot + names.get(last, last))

    return tuple(map(renamed, author_names()))


def _hugging_face_names() -> Table:
    stage = r"encoder.stages.\1"
    block, ours = rf"{stage}.layers.\2", r"stages_(\d+)/blocks_(\d+)"
    return (
        Rule(r"stem/conv", r"embeddings.patch_embeddings", CONV),
        Rule(r"stem/norm", r"embeddings.layernorm", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/norm", rf"{stage}.downsampling_layer.0", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/conv", rf"{stage}.downsampling_layer.1", CONV),
        Rule(ours, block, {"gamma": Leaf("layer_scale_parameter")}),
        Rule(rf"{ours}/conv_dw", rf"{block}.dwconv", CONV),
        Rule(rf"{ours}/norm", rf"{block}.layernorm", LAYER_NORM),
        Rule(rf"{ours}/mlp/fc1", rf"{block}.pwconv1", LINEAR),
        Rule(rf"{ours}/mlp/fc2", rf"{block}.pwconv2", LINEAR),
    )


def author_names(dwconv: str = ".dwconv") -> Table:
    """Returns the authors' names; `dwconv` is that of the depthwise convolution in a block."""
    return (
        Rule(r"stem/conv", r"downsample_layers.0.0", CONV),
        Rule(r"stem/norm", r"downsample_layers.0.1", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/norm", r"downsample_layers.\1.0", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/conv", r"downsample_layers.\1.1", CONV),
        *author_block_names(r"stages_(\d+)/blocks_(\d+)", r"stages.\1.\2", dwconv),
    )


def by_authors_layer(paths: Sequence[str]) -> dict[str, int]:
    """The authors' 12 layers where a net has them, which is with 27 blocks in stage 2; else timm's.

    They are those of `by_triple` (`optim_factory.py`): so the published fine-tuning of ConvNeXt-S,
    -B, -L and -XL is theirs, and shallower nets still decay.
    """
    return by_triple(paths).ids if _third_stage(paths) == 27 else by_block(paths)


def by_triple(paths: Sequence[str]) -> Layers:
    """The authors' layers in detection: three blocks of the third stage, or another stage each.

    These are 6 of ConvNeXt-T, 12 of the larger ones, and the stem (`object_detection/`).
    """
    last_stage = 3 + -(-_third_stage(paths) // 3)

    def layer(path: str) -> int | None:
        if path.startswith("stem/"):
            return 0
        stage, block = STAGE.match(path), BLOCK.match(path)
        if stage is None:
            return last_stage + 1 if path.startswith("head/") else None
        if block is None:
            return {1: 2, 2: 3, 3: last_stage}[int(stage[1])]  # downsampling before that stage
        return {0: 1, 1: 2, 2: 3 + int(block[2]) // 3, 3: last_stage}[int(stage[1])]

    return _layers(paths, layer, last_stage + 1)


def by_whole_stage(paths: Sequence[str]) -> Layers:
    """The authors' layers in segmentation: stem and downsamplings, then the blocks of each stage.

    The last layer's number is that of `by_triple`, which leaves a gap (`semantic_segmentation/`).
    """
    last = 4 + -(-_third_stage(paths) // 3)

    def layer(path: str) -> int | None:
        if path.startswith("head/"):
            return last
        if block := BLOCK.match(path):
            return int(block[1]) + 1
        return 0 if path.startswith("stem/") or STAGE.match(path) else None

    return _layers(paths, layer, last)


def _third_stage(paths: Sequence[str]) -> int:
    """Returns the number of its blocks."""
    return len({match[2] for path in paths if (match := BLOCK.match(path)) and match[1] == "2"})


def _layers(paths: Sequence[str], layer: Callable[[str], int | None], last: int) -> Layers:
    found = {path: layer(path) for path in paths}
    return Layers({path: i for path, i in found.items() if i is not None}, last)


_LINEAR, _CONVOLUTIONAL, _AUTHORS = _timm_names(LINEAR), _timm_names(POINTWISE), author_names()
FAMILY = Family(
    (_LINEAR, _AUTHORS, _CONVOLUTIONAL),
    official=1,
    layer_ids=by_authors_layer,
    layer_rules={"stage": by_whole_stage, "triple": by_triple},
    output_norm=LayerNorm,
    backbones={
        "mmseg": backbone_rules(_AUTHORS),
        "mmpretrain": backbone_rules(_mmpretrain_names()),
        "huggingface": backbone_rules(
            _hugging_face_names(), lambda i: f"hidden_states_norms.stage{i + 1}"
        ),
    },
)
_ATTO = dataclasses.replace(FAMILY, namings=(_CONVOLUTIONAL, _LINEAR, _AUTHORS), official=2)

_RELEASE = "https://dl.fbaipublicfiles.com/convnext"


def _others(size: str, own: float, *of_22k: float) -> tuple[Report, ...]:
    """Returns the paper's other accuracies: at 384 pixels, and of ImageNet-22K at 224 and 384."""
    source, file = "reported by the paper of ConvNeXt", f"{_RELEASE}/convnext_{size}"
    reports = [Report(own, source, f"at 384 pixels: {file}_1k_384.pth")]
    for top1, pixels in zip(of_22k, (224, 384), strict=True):
        weights = f"ImageNet-22K first, at {pixels} pixels: {file}_22k_1k_{pixels}.pth"
        reports.append(Report(top1, source, weights))
    return tuple(reports)


def _register(name: str, depths: tuple[int, ...], dims: tuple[int, ...], **info: Any) -> None:
    published: dict[str, Any] = {
        "family": FAMILY,
        "top1_source": "reported by the paper",
        "licence": "mit",
    }
    about = ModelInfo(
        name=name,
        input_size=224,
        stage_depths=depths,
        feature_strides=PYRAMID,
        **(published | info),
    )
    register_model(about, functools.partial(MetaNeXt, **CONVNEXT, stage_dims=dims))


_register(
    "convnext_atto",
    (2, 2, 6, 2),
    (40, 80, 160, 320),
    family=_ATTO,
    top1=0.757,
    top1_source="reported by timm, whose network and weights these are",
    weights_url="https://github.com/rwightman/pytorch-image-models/releases/download/"
    "v0.1-rsb-weights/convnext_atto_d2-01bb0f51.pth",
    hub_id="timm/convnext_atto.d2_in1k",
    licence="apache-2.0",
)
_register(
    "convnext_tiny",
    (3, 3, 9, 3),
    (96, 192, 384, 768),
    top1=0.821,
    weights_url=f"{_RELEASE}/convnext_tiny_1k_224_ema.pth",
    hub_id="timm/convnext_tiny.fb_in1k",
)
_register(
    "convnext_small",
    (3, 3, 27, 3),
    (96, 192, 384, 768),
    top1=0.831,
    weights_url=f"{_RELEASE}/convnext_small_1k_224_ema.pth",
    hub_id="timm/convnext_small.fb_in1k",
)
_register(
    "convnext_base",
    (3, 3, 27, 3),
    (128, 256, 512, 1024),
    top1=0.838,
    other_reports=_others("base", 0.851, 0.858, 0.868),
    weights_url=f"{_RELEASE}/convnext_base_1k_224_ema.pth",
    hub_id="timm/convnext_base.fb_in1k",
)
_register(
    "convnext_large",
    (3, 3, 27, 3),
    (192, 384, 768, 1536),
    top1=0.843,
    other_reports=_others("large", 0.855, 0.866, 0.875),
    weights_url=f"{_RELEASE}/convnext_large_1k_224_ema.pth",
    hub_id="timm/convnext_large.fb_in1k",
)
_register(
    "convnext_xlarge",
    (3, 3, 27, 3),
    (256, 512, 1024, 2048),
    top1=0.870,
    top1_source="reported by the paper after pre-training on ImageNet-22K",
    other_reports=(
        Report(
            0.878,
            "reported by the paper of ConvNeXt",
            f"ImageNet-22K first, at 384 pixels: {_RELEASE}/convnext_xlarge_22k_1k_384_ema.pth",
        ),
    ),
    weights_url=f"{_RELEASE}/convnext_xlarge_22k_1k_224_ema.pth",
    hub_id="timm/convnext_xlarge.fb_in22k_ft_in1k",
)
