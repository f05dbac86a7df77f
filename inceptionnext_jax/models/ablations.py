"""The networks of InceptionNeXt's two tables on the mixer, each one setting away from its base.

`inceptionnext_tiny_*`: the ablation study (experiments, table of ablations). The paper does not say
what becomes of the channels of a removed branch; here they stay as they are, which gives the
printed numbers of parameters. Nor does it say how the bands in sequence share their channels; here
both convolve those of one branch, 1×k first: as many parameters and multiply-accumulates as in
parallel, and less to move, as the higher inference throughput of the table suggests.

`convnext_tiny_k*`: the preliminary study (introduction), ConvNeXt-T with smaller kernels on fewer
channels; `par4` convolves 1/4 of them, `par3_8` 3/8. Their accuracies are those of averaged
weights.
"""

import functools
from typing import Any

from inceptionnext_jax.models.convnext import CONVNEXT
from inceptionnext_jax.models.layers.token_mixers import InceptionDWConv
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.registry import ModelInfo, register_model

# What is changed, parameters, multiply-accumulates, reported accuracy.
_Row = tuple[dict[str, Any], int, int, float]


def _mixer(**settings: Any) -> dict[str, Any]:
    return {"token_mixer": functools.partial(InceptionDWConv, **settings)}


_INCEPTIONNEXT: dict[str, _Row] = {
    "no_hband": (_mixer(branches=("dwconv_hw", "dwconv_h")), 28_045_744, 4_185_684_864, 0.819),
    "no_vband": (_mixer(branches=("dwconv_hw", "dwconv_w")), 28_045_744, 4_185_684_864, 0.819),
    "no_square": (_mixer(branches=("dwconv_w", "dwconv_h")), 28_047_400, 4_186_221_120, 0.820),
    "sequential": (_mixer(sequential=True), 28_055_680, 4_188_634_272, 0.821),
    "band7": ({"kernel_size": 7}, 28_049_056, 4_186_489_248, 0.821),
    "band9": ({"kernel_size": 9}, 28_052_368, 4_187_561_760, 0.821),
    "band13": ({"kernel_size": 13}, 28_058_992, 4_189_706_784, 0.820),
    "ratio4": ({"mixer_ratio": 1 / 4}, 28_083_832, 4_196_946_240, 0.822),
    "ratio16": ({"mixer_ratio": 1 / 16}, 28_041_604, 4_184_478_288, 0.818),
}


def _partial(ratio: float) -> dict[str, Any]:
    return {"token_mixer": "partial_depthwise", "kernel_size": 3, "mixer_ratio": ratio}


_CONVNEXT: dict[str, _Row] = {
    "k5": ({"kernel_size": 5}, 28_430_152, 4_404_050_688, 0.820),
    "k3": ({"kernel_size": 3}, 28_324_168, 4_369_730_304, 0.815),
    "k3_par2": (_partial(1 / 2), 28_291_048, 4_360_077_696, 0.814),
    "k3_par3_8": (_partial(3 / 8), 28_282_768, 4_357_664_544, 0.814),
    "k3_par4": (_partial(1 / 4), 28_274_488, 4_355_251_392, 0.813),
    "k3_par8": (_partial(1 / 8), 28_266_208, 4_352_838_240, 0.808),
    "k3_par16": (_partial(1 / 16), 28_262_068, 4_351_631_664, 0.801),
}


def _register(base: str, settings: dict[str, Any], rows: dict[str, _Row]) -> None:
    for row, (change, params, macs, top1) in rows.items():
        info = ModelInfo(
            name=f"{base}_{row}",
            input_size=224,
            stage_depths=(3, 3, 9, 3),
            params=params,
            macs=macs,
            top1=top1,
            top1_source="reported by the paper of InceptionNeXt",
        )
        tiny = {"stage_dims": (96, 192, 384, 768)}
        register_model(info, functools.partial(MetaNeXt, **(tiny | settings | change)))


_register("inceptionnext_tiny", {}, _INCEPTIONNEXT)
_register("convnext_tiny", CONVNEXT, _CONVNEXT)
