"""The config keys of image classification: data, augmentation and loss.

`configs/default.py` has the others.
"""

from ml_collections import ConfigDict

from configs.default import optional, shared
from inceptionnext_jax import model_info


def get_config() -> ConfigDict:
    """Returns the defaults: the recipe of InceptionNeXt-T (supplement, Table 1)."""
    config = shared("classification")
    config.data = _data()
    config.augment = _augment()
    config.loss = ConfigDict()
    config.loss.name = "softmax"  # softmax | bce
    config.loss.label_smoothing = 0.1
    config.checkpoint.best_metric = "eval/top1"
    return config


def _data() -> ConfigDict:
    data = ConfigDict()
    data.name = "imagenet2012"  # a TFDS name | folder | digits | synthetic
    data.dir = optional(str)  # of the TFDS data or the image folder
    data.image_size = 224  # pixels, square
    data.train_split = "train"
    data.eval_split = "validation"
    data.workers = optional(int)  # loader processes; 0: this process; None: by the host's cores
    data.interpolation = "bicubic"  # in evaluation: bicubic | bilinear
    data.crop_pct = optional(float)  # centre crop / resized short side; None: the model's own
    data.max_bad = 0.001  # largest share of undecodable images to skip; above it, the run ends
    data.cache = False  # keep decoded evaluation images in memory (147 KiB each at 224)
    return data


def _augment() -> ConfigDict:
    augment = ConfigDict()
    augment.scale = (0.08, 1.0)  # of the random-resized crop: share of the area
    augment.ratio = (3 / 4, 4 / 3)  # of the random-resized crop: width / height
    augment.hflip = 0.5  # probability
    augment.interpolation = "random"  # in training: random (either) | bilinear | bicubic
    augment.rand_augment = "rand-m9-mstd0.5-inc1"  # timm's strings; "": off
    augment.mixup = 0.8  # alpha of Beta(alpha, alpha); 0: off
    augment.cutmix = 1.0  # alpha; 0: off
    augment.mix_prob = 1.0  # probability of mixing at all
    augment.mix_switch_prob = 0.5  # probability of CutMix where both are on
    augment.mix_group_size = 128  # images that mix with each other by one draw; 0: the whole batch
    augment.random_erasing = 0.25  # probability
    augment.erasing_count = 1  # rectangles at most
    augment.color_jitter = 0.4  # used only where rand_augment is off, as in timm; 0: off
    augment.order = "inceptionnext"  # inceptionnext: mix, normalise, erase | convnext: erase first
    return augment


def digits(config: ConfigDict) -> None:
    """Makes this task's part of the variant `digits`: crops of small, unmirrored digits."""
    depths = model_info(config.model.name).stage_depths
    config.data.name = "digits"
    config.data.image_size = 32 if len(depths) > 1 else 64  # patches of 4 or of 16 pixels
    config.data.crop_pct = 1.0
    config.data.workers = 0
    config.augment.scale = (0.6, 1.0)
    config.augment.hflip = 0.0  # a mirrored digit is another sign
    config.augment.rand_augment = ""
    config.augment.color_jitter = 0.0
    config.augment.mixup = config.augment.cutmix = 0.0
    config.augment.mix_group_size = 0
    config.augment.random_erasing = 0.0


def debug(config: ConfigDict) -> None:
    """Makes this task's part of the variant `debug`: small synthetic images with one label each."""
    config.data.name = "synthetic"
    config.data.image_size = 64
    config.data.workers = 0
    config.augment.mix_group_size = min(config.augment.mix_group_size, 8)
    config.checkpoint.best_metric = config.checkpoint.best_metric.replace("/map", "/top1")
