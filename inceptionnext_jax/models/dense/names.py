"""PyTorch's names of dense systems: those of backbones with those of necks and heads."""

import dataclasses
import re
from collections.abc import Mapping

from inceptionnext_jax.models.dense.detection_heads import ROI_SIZE
from inceptionnext_jax.models.family import Family, Path
from inceptionnext_jax.models.names import (
    BATCH_NORM,
    CONV,
    LINEAR,
    POINTWISE,
    Leaf,
    Rule,
    Table,
    backbone_rules,
)

CLASSIFIER: Path = ("params", "decode_head", "conv_seg", "bias")


def head_rules(norm: str, classifier: str) -> Table:
    """Returns the names of necks and heads, given those of norms and of the last layer."""
    head = r"((?:decode|auxiliary)_head)"
    numbered = r"(lateral_convs|fpn_convs|convs)_(\d)"
    names = {
        rf"{head}/{numbered}": r"\1.\2.\3",
        rf"{head}/(bottleneck|fpn_bottleneck)": r"\1.\2",
        rf"{head}/psp_modules_(\d)": r"\1.psp_modules.\2.1",
    }
    convs = [Rule(f"{ours}/conv", f"{theirs}.conv", CONV) for ours, theirs in names.items()]
    norms = [Rule(f"{ours}/norm", f"{theirs}.{norm}", BATCH_NORM) for ours, theirs in names.items()]

    def step(ours: str, theirs: str, leaves: dict[str, Leaf]) -> Rule:
        return Rule(
            rf"{head}/scale_heads_(\d)_(\d)/{ours}",
            # An enlargement lies between two convolutions.
            lambda match: f"{match[1]}.scale_heads.{match[2]}.{2 * int(match[3])}.{theirs}",
            leaves,
        )

    return (
        *convs,
        *norms,
        step("conv", "conv", CONV),
        step("norm", norm, BATCH_NORM),
        Rule(rf"neck/{numbered}", r"neck.\1.\2.conv", CONV),
        Rule(rf"{head}/conv_seg", rf"\1.{classifier}", POINTWISE),
    )


# The first linear layer reads features in the order channels, rows, columns there.
_FLATTENED = {
    "kernel": Leaf(
        "weight",
        lambda a: (
            a.reshape(len(a), -1, ROI_SIZE, ROI_SIZE).transpose(2, 3, 1, 0).reshape(-1, len(a))
        ),
        lambda a: (
            a.reshape(ROI_SIZE, ROI_SIZE, -1, a.shape[1])
            .transpose(3, 2, 0, 1)
            .reshape(a.shape[1], -1)
        ),
    ),
    "bias": Leaf("bias"),
}
_DOUBLING = {
    "kernel": Leaf("weight", lambda a: a.transpose(2, 3, 0, 1), lambda a: a.transpose(2, 3, 0, 1)),
    "bias": Leaf("bias"),
}


def detection_rules() -> Table:
    """Returns mmdetection's names of necks and heads; Cascade's heads are numbered."""

    def stage(match: re.Match[str]) -> str:
        return f"roi_head.{match[1]}" + (f".{match[2]}" if match[2] else "")

    head = r"(bbox_head|mask_head)(?:_(\d))?"

    def within_stage(ours: str, theirs: str, leaves: dict[str, Leaf]) -> Rule:
        return Rule(
            rf"{head}/{ours}", lambda match: f"{stage(match)}.{match.expand(theirs)}", leaves
        )

    return (
        Rule(r"neck/(lateral_convs|fpn_convs)_(\d)", r"neck.\1.\2.conv", CONV),
        Rule(r"rpn_head/(rpn_\w+)", r"rpn_head.\1", CONV),
        Rule(r"retina_head/(cls_convs|reg_convs)_(\d)", r"bbox_head.\1.\2.conv", CONV),
        Rule(r"retina_head/(retina_\w+)", r"bbox_head.\1", CONV),
        within_stage(r"shared_convs_(\d)/conv", r"shared_convs.\3.conv", CONV),
        within_stage(r"shared_convs_(\d)/norm", r"shared_convs.\3.bn", BATCH_NORM),
        within_stage(r"shared_fcs_0", r"shared_fcs.0", _FLATTENED),
        within_stage(r"shared_fcs_([1-9])", r"shared_fcs.\3", LINEAR),
        within_stage(r"(fc_cls|fc_reg)", r"\3", LINEAR),
        within_stage(r"convs_(\d)", r"convs.\3.conv", CONV),
        within_stage(r"upsample", r"upsample", _DOUBLING),
        within_stage(r"conv_logits", r"conv_logits", POINTWISE),
    )


MMDET = detection_rules()
MMSEG = head_rules("bn", "conv_seg")
HUGGING_FACE = head_rules("batch_norm", "classifier")


def segmenter_family(backbone: Family) -> Family:
    """Returns the family of the segmentation systems that have networks of this one as backbones.

    In the layout "timm", mmsegmentation's names hold outside the backbone. Layouts are read in any
    of the backbone's tables.
    """
    special = {"huggingface": HUGGING_FACE}
    return dataclasses.replace(
        _system_family(backbone, "mmseg", MMSEG, special), classifier=CLASSIFIER
    )


def detector_family(backbone: Family, classifier: Path, per_class: int) -> Family:
    """Returns the family of the detectors that have networks of this one as backbones.

    In all layouts, mmdetection's names hold outside the backbone.

    Args:
      backbone: The networks' family.
      classifier: Path of the array that shows the number of classes.
      per_class: Its elements for each class.
    """
    return dataclasses.replace(
        _system_family(backbone, "mmdet", MMDET, {}), classifier=classifier, per_class=per_class
    )


def _system_family(
    backbone: Family, layout: str, heads: Table, special: Mapping[str, Table]
) -> Family:
    """Returns the family of systems.

    Args:
      backbone: The networks' family.
      layout: The layout of OpenMMLab's names, those of the heads too.
      heads: Names of necks and heads.
      special: Those in other layouts.
    """
    tables = [*map(backbone_rules, backbone.namings), *backbone.backbones.values()]
    tails = dict.fromkeys(range(len(tables)), heads)
    layouts = {}
    for index, other in enumerate(backbone.backbones, start=len(backbone.namings)):
        name = layout if other == "mmseg" else other
        if other in special or other != "huggingface":
            layouts[name] = index
        tails[index] = special.get(other, heads)
    layouts.setdefault(layout, 0)
    layouts.setdefault("official", layouts[layout])
    return dataclasses.replace(
        Family(layer_ids=backbone.layer_ids, layer_rules=backbone.layer_rules),
        namings=tuple((*table, *tails[index]) for index, table in enumerate(tables)),
        layouts=layouts,
        implied={(path[0], "backbone", *path[1:]): v for path, v in backbone.implied.items()},
        others={f"backbone.{name}": what for name, what in backbone.others.items()},
    )
