"""The networks of InceptionNeXt's two tables on the mixer, each one setting away from its base.

`inceptionnext_tiny_*`: the ablation study (experiments, table of ablations). The paper does not
specify the channels of a removed branch; here they pass unchanged, which gives the printed numbers
of parameters. Nor does it specify how sequential bands share their channels; here both convolve
those of one branch, 1×k first: as many parameters and multiply-accumulates as in parallel, and less
memory traffic, as the higher inference throughput of the table suggests.

`convnext_tiny_k*`: the preliminary study (introduction), ConvNeXt-T with smaller kernels on fewer
channels; `par4` convolves 1/4 of them, `par3_8` 3/8. Their accuracies are those of averaged
weights.
"""

import functools
from typing import Any

from inceptionnext_jax.models.convnext import CONVNEXT, author_names, by_authors_layer
from inceptionnext_jax.models.convnext import FAMILY as CONVNEXT_FAMILY
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.inceptionnext import FAMILY as INCEPTIONNEXT_FAMILY
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.layers.token_mixers import InceptionDWConv
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model

# Changed settings, reported accuracy.
_Row = tuple[dict[str, Any], float]


def _mixer(**settings: Any) -> dict[str, Any]:
    return {"token_mixer": functools.partial(InceptionDWConv, **settings)}


_INCEPTIONNEXT: dict[str, _Row] = {
    "no_hband": (_mixer(branches=("dwconv_hw", "dwconv_h")), 0.819),
    "no_vband": (_mixer(branches=("dwconv_hw", "dwconv_w")), 0.819),
    "no_square": (_mixer(branches=("dwconv_w", "dwconv_h")), 0.820),
    "sequential": (_mixer(sequential=True), 0.821),
    "band7": ({"kernel_size": 7}, 0.821),
    "band9": ({"kernel_size": 9}, 0.821),
    "band13": ({"kernel_size": 13}, 0.820),
    "ratio4": ({"mixer_ratio": 1 / 4}, 0.822),
    "ratio16": ({"mixer_ratio": 1 / 16}, 0.818),
}


def _partial(ratio: float) -> dict[str, Any]:
    return {"token_mixer": "partial_depthwise", "kernel_size": 3, "mixer_ratio": ratio}


_CONVNEXT: dict[str, _Row] = {
    "k5": ({"kernel_size": 5}, 0.820),
    "k3": ({"kernel_size": 3}, 0.815),
}
# There is no other code with these networks than that of InceptionNeXt's preliminary study.
_PARTIAL_FAMILY = Family(
    (author_names(".dwconv.conv"),), layer_ids=by_authors_layer, output_norm=LayerNorm
)
_PARTIAL: dict[str, _Row] = {
    "k3_par2": (_partial(1 / 2), 0.814),
    "k3_par3_8": (_partial(3 / 8), 0.814),
    "k3_par4": (_partial(1 / 4), 0.813),
    "k3_par8": (_partial(1 / 8), 0.808),
    "k3_par16": (_partial(1 / 16), 0.801),
}


def _register(base: str, family: Family, settings: dict[str, Any], rows: dict[str, _Row]) -> None:
    for row, (change, top1) in rows.items():
        info = ModelInfo(
            name=f"{base}_{row}",
            input_size=224,
            stage_depths=(3, 3, 9, 3),
            feature_strides=PYRAMID,
            family=family,
            top1=top1,
            top1_source="reported by the paper of InceptionNeXt",
        )
        tiny = {"stage_dims": (96, 192, 384, 768)}
        register_model(info, functools.partial(MetaNeXt, **(tiny | settings | change)))


_register("inceptionnext_tiny", INCEPTIONNEXT_FAMILY, {}, _INCEPTIONNEXT)
_register("convnext_tiny", CONVNEXT_FAMILY, CONVNEXT, _CONVNEXT)
_register("convnext_tiny", _PARTIAL_FAMILY, CONVNEXT, _PARTIAL)
