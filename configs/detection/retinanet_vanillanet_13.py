r"""RetinaNet with VanillaNet-13 on COCO. Reported: 43.0 box AP.

    python main.py --config=configs/detection/retinanet_vanillanet_13.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=vanillanet_13_act_num_4_kd_pretrain.pth

The figures are the authors' repository's, and so are the weights to start from, whose activations
see 4 positions to each side. Deployed, and without its depthwise products, the network has the
printed 75.4 M parameters and 396.9 G MACs. The rate is their config's: it falls after 10 and 11
epochs.

Variant `:linear` lets it fall linearly to 0, as the supplement says.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    config = recipe_1x.vanillanet("retinanet", lr=8e-5, decay_epochs=(10, 11))
    return default.finish(config, arg, {"linear": recipe_1x.linear})
