"""Digits on photographs through the whole path of segmentation, on a laptop, without a download.

    python main.py --config=configs/segmentation/digits.py --workdir=out/seg

The scenes are made of scikit-learn's digits and photographs; held-out scenes have other digits and
other parts of the photographs.
"""

from configs import default
from configs.tasks import segmentation


def get_config(arg=""):
    config = segmentation.get_config()
    config.model.name = "upernet_inceptionnext_atto"
    default.digits(config)
    return default.finish(config, arg)
