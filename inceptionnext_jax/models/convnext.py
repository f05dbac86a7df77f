"""ConvNeXt (CVPR 2022): settings of MetaNeXt with a 7×7 depthwise convolution as token mixer.

Sizes are those of the paper's configurations (section 3) and, for atto, of timm. Against
InceptionNeXt: LayerNorm instead of BatchNorm, an MLP ratio of 4 in every stage, a linear head.
Networks for 22K classes are these with num_classes=21841.
"""

import functools
from typing import Any

from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.registry import ModelInfo, register_model

CONVNEXT: dict[str, Any] = {
    "mlp_ratios": (4, 4, 4, 4),
    "token_mixer": "depthwise",
    "mixer_name": "conv_dw",
    "norm": "layer",
    "head": "linear",
}
_RELEASE = "https://dl.fbaipublicfiles.com/convnext"
_SOURCE = "reported by the paper"


def _register(
    name: str, depths: tuple[int, ...], dims: tuple[int, ...], params: int, macs: int, **info: Any
) -> None:
    published = {"top1_source": _SOURCE, "licence": "mit"}
    about = ModelInfo(
        name=name,
        input_size=224,
        stage_depths=depths,
        params=params,
        macs=macs,
        **(published | info),
    )
    register_model(about, functools.partial(MetaNeXt, **CONVNEXT, stage_dims=dims))


_register(
    "convnext_atto",
    (2, 2, 6, 2),
    (40, 80, 160, 320),
    params=3_695_520,
    macs=547_332_480,
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
    params=28_589_128,
    macs=4_455_531_264,
    top1=0.821,
    weights_url=f"{_RELEASE}/convnext_tiny_1k_224_ema.pth",
    hub_id="timm/convnext_tiny.fb_in1k",
)
_register(
    "convnext_small",
    (3, 3, 27, 3),
    (96, 192, 384, 768),
    params=50_223_688,
    macs=8_683_712_256,
    top1=0.831,
    weights_url=f"{_RELEASE}/convnext_small_1k_224_ema.pth",
    hub_id="timm/convnext_small.fb_in1k",
)
_register(
    "convnext_base",
    (3, 3, 27, 3),
    (128, 256, 512, 1024),
    params=88_591_464,
    macs=15_354_729_472,
    top1=0.838,
    weights_url=f"{_RELEASE}/convnext_base_1k_224_ema.pth",
    hub_id="timm/convnext_base.fb_in1k",
)
_register(
    "convnext_large",
    (3, 3, 27, 3),
    (192, 384, 768, 1536),
    params=197_767_336,
    macs=34_361_433_600,
    top1=0.843,
    weights_url=f"{_RELEASE}/convnext_large_1k_224_ema.pth",
    hub_id="timm/convnext_large.fb_in1k",
)
_register(
    "convnext_xlarge",
    (3, 3, 27, 3),
    (256, 512, 1024, 2048),
    params=350_196_968,
    macs=60_921_030_656,
    top1=0.870,
    top1_source="reported by the paper after pre-training on ImageNet-22K",
    weights_url=f"{_RELEASE}/convnext_xlarge_22k_1k_224_ema.pth",
    hub_id="timm/convnext_xlarge.fb_in22k_ft_in1k",
)
