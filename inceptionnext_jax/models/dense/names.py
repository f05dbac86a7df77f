"""PyTorch's names of dense systems: those of backbones with those of necks and heads."""

import dataclasses

from inceptionnext_jax.models.family import Family, Path
from inceptionnext_jax.models.names import (
    BATCH_NORM,
    CONV,
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


MMSEG = head_rules("bn", "conv_seg")
HUGGING_FACE = head_rules("batch_norm", "classifier")


def system_family(backbone: Family) -> Family:
    """Returns the family of the systems that have networks of this family as backbones.

    In the layout "timm", mmsegmentation's names hold outside the backbone. Layouts are read in any
    of the backbone's tables.
    """
    tables = [*map(backbone_rules, backbone.namings), *backbone.backbones.values()]
    heads = dict.fromkeys(range(len(tables)), MMSEG)
    layouts = {}
    for index, layout in enumerate(backbone.backbones, start=len(backbone.namings)):
        layouts[layout] = index
        if layout == "huggingface":
            heads[index] = HUGGING_FACE
    layouts.setdefault("mmseg", 0)
    layouts.setdefault("official", layouts["mmseg"])
    return dataclasses.replace(
        Family(layer_ids=backbone.layer_ids, layer_rules=backbone.layer_rules),
        namings=tuple((*table, *heads[index]) for index, table in enumerate(tables)),
        layouts=layouts,
        implied={(path[0], "backbone", *path[1:]): v for path, v in backbone.implied.items()},
        classifier=CLASSIFIER,
        others={f"backbone.{name}": what for name, what in backbone.others.items()},
    )
