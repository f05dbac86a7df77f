r"""Cascade Mask R-CNN with ConvNeXt-L on COCO. Reported: 54.8 box AP, 47.6 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_convnext_large.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/convnext_large.fb_in22k

The row of ConvNeXt's Table 3 (1,354 G MACs; 255 M parameters) by the authors' config (3x), from
weights of ImageNet-22K.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.convnext(
        "cascade_mask_rcnn", "convnext_large", lr=1e-4, layer_decay=0.7, drop_path_rate=0.7
    )
    return default.finish(config, arg)
