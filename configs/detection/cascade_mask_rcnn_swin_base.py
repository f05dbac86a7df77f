r"""Cascade Mask R-CNN with Swin-B on COCO. Reported: 51.9 box AP, 45.0 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_swin_base.py \
        --workdir=/ckpt --config.data.dir=coco \
        --config.init_from=hf://timm/swin_base_patch4_window7_224.ms_in1k

The row of ConvNeXt's Table 3 (982 G MACs; 145 M parameters) by Swin's config (3x).

Variant `:22k`, from --config.init_from=hf://timm/swin_base_patch4_window7_224.ms_in22k; reported
53.0 box AP, 45.8 mask AP. Its config is not published: it is the same here.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.swin("cascade_mask_rcnn", "swin_base", drop_path_rate=0.3)
    return default.finish(config, arg, {"22k": default.same_as_paper})
