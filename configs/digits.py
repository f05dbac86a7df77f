"""scikit-learn's 1,797 handwritten digits through the whole ImageNet path, on a laptop.

    python main.py --config=configs/digits.py --workdir=out/digits

The settings are those of every config's variant `:digits`, here for InceptionNeXt-A.
"""

from configs import default
from configs.tasks import classification


def get_config(arg=""):
    config = classification.get_config()
    config.model.name = "inceptionnext_atto"
    default.digits(config)
    return default.finish(config, arg)
