r"""Mask R-CNN with VanillaNet-13 on COCO. Reported: 44.3 box AP, 40.1 mask AP.

    python main.py --config=configs/detection/mask_rcnn_vanillanet_13.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=vanillanet_13_act_num_4_kd_pretrain.pth

The figures are the authors' repository's, and so are the weights to start from, whose activations
see 4 positions to each side. Deployed, and without its depthwise products, the network has the
printed 77.1 M parameters and 420.7 G MACs. The rate is their config's: it falls after 10 epochs;
that config names 12 too, its end, where nothing follows.

Variant `:linear` lets it fall linearly to 0, as the supplement says.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    config = recipe_1x.vanillanet("mask_rcnn", lr=1.3e-4, decay_epochs=(10, 12))
    return default.finish(config, arg, {"linear": recipe_1x.linear})
