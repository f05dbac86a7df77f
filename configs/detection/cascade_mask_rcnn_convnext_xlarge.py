r"""Cascade Mask R-CNN with ConvNeXt-XL on COCO. Reported: 55.2 box AP, 47.7 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_convnext_xlarge.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/convnext_xlarge.fb_in22k

The row of ConvNeXt's Table 3 (1,898 G MACs; 407 M parameters) by the authors' config (3x), from
weights of ImageNet-22K.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.convnext(
        "cascade_mask_rcnn", "convnext_xlarge", lr=1e-4, layer_decay=0.7, drop_path_rate=0.8
    )
    return default.finish(config, arg)
