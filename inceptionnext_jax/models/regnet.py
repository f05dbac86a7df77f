"""RegNetY-4GF, -8GF and -16GF (CVPR 2020), as in timm: settings of `ResNet`.

Bottlenecks do not narrow, their 3×3 convolutions are grouped and followed by squeeze and
excitation; every stage begins with a stride, after a stem of one 3×3 convolution. Widths and depths
follow the paper's rule.
"""

import functools
from typing import Any

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.names import BATCH_NORM, CONV, LINEAR, POINTWISE, Rule, numbered_rule
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.reported import Report
from inceptionnext_jax.models.resnet import Bottleneck, ResNet, Stem

_NAMES = (
    Rule(r"stem/conv/conv", r"stem.conv", CONV),
    Rule(r"stem/conv/norm", r"stem.bn", BATCH_NORM),
    numbered_rule(r"(conv\d|downsample)/conv", "s{stage}.b{next}.{}.conv", CONV),
    numbered_rule(r"(conv\d|downsample)/norm", "s{stage}.b{next}.{}.bn", BATCH_NORM),
    numbered_rule(r"se/(fc\d)", "s{stage}.b{next}.se.{}", POINTWISE),
    Rule(r"head/fc", r"head.fc", LINEAR),
)
_FAMILY = Family((_NAMES,))


def _register(
    name: str,
    depths: tuple[int, ...],
    dims: tuple[int, ...],
    group_width: int,
    top1: float,
    first_top1: float,
    hub: str,
) -> None:
    info = ModelInfo(
        name=name,
        input_size=224,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=_FAMILY,
        top1=top1,
        top1_source="reported by the paper of InceptionNeXt (RSB)",
        other_reports=(
            Report(first_top1, "reported by the paper of ConvNeXt", "RegNet's own, of pycls"),
        ),
        hub_id=f"timm/regnety_{hub}.pycls_in1k",
        licence="mit",
    )
    block = functools.partial(Bottleneck, ratio=1, group_width=group_width, se_ratio=0.25)
    settings: dict[str, Any] = {
        "stage_dims": dims,
        "stem_factory": functools.partial(Stem, 32, 3, False),
        "block_factory": block,
        "first_stride": 2,
    }
    register_model(info, functools.partial(ResNet, **settings))


_register(
    "regnety_4g",
    (2, 6, 12, 2),
    (128, 192, 512, 1088),
    64,
    top1=0.813,
    first_top1=0.800,
    hub="040",
)
_register(
    "regnety_8g",
    (2, 4, 10, 1),
    (168, 448, 896, 2016),
    56,
    top1=0.821,
    first_top1=0.817,
    hub="080",
)
_register(
    "regnety_16g",
    (2, 4, 11, 1),
    (224, 448, 1232, 3024),
    112,
    top1=0.822,
    first_top1=0.829,
    hub="160",
)
