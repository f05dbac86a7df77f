"""The config keys of semantic segmentation: data, augmentation, loss, heads and evaluation.

`configs/default.py` has the others.
"""

from ml_collections import ConfigDict

from configs.default import optional, shared
from inceptionnext_jax import create_model


def get_config() -> ConfigDict:
    """Returns the defaults: UperNet on ADE20K by Swin's recipe (mmsegmentation's config)."""
    config = shared("segmentation")
    config.batch_size = 16
    config.total_epochs = 0.0
    config.total_steps = 160_000
    config.model.name = "upernet_inceptionnext_tiny"
    config.model.dropout_rate = 0.1  # of channels, before the last layer of each head
    config.model.bn_group_size = 0  # synchronised BatchNorm: statistics of the whole batch
    del config.model.head, config.model.head_init_scale  # of classifiers
    config.head = _head()
    config.data = _data()
    config.augment = _augment()
    config.loss = _loss()
    config.optim.lr = 6e-5
    config.optim.lr_batch_size = 16
    config.optim.weight_decay = 0.01
    config.schedule.name = "poly"
    config.schedule.per = "step"
    config.schedule.warmup_steps = 1500
    config.schedule.warmup_factor = 1e-6
    config.schedule.min_lr = 0.0
    config.schedule.cooldown_epochs = 0.0
    _evaluation(config.eval)
    config.checkpoint.best_metric = "eval/miou"
    config.checkpoint.every_steps = 4000
    return config


def _head() -> ConfigDict:
    head = ConfigDict()  # None: the system's own
    head.channels = optional(int)  # of the decode head
    # upernet only: a second head on the third map, for the loss only
    head.aux_head = optional(bool)
    # none | batch | group | layer: a norm of each of the backbone's maps; None: the backbone's own
    head.out_norm = optional(str)
    return head


def _data() -> ConfigDict:
    data = ConfigDict()
    data.name = "ade20k"  # ade20k | pairs | digit_scenes | synthetic
    data.dir = optional(str)  # ADEChallengeData2016, or the folder of pairs
    data.image_size = 512  # pixels on a side of training images
    data.resize = (2048, 512)  # longest long side and longest short side, keeping the aspect
    data.train_split = "training"
    data.eval_split = "validation"
    data.ignore_index = 255  # stored id of pixels without a label; None: there is none
    data.reduce_zero_label = False  # pairs only: stored 0 is no label, and 1 the first class
    data.workers = optional(int)  # loader processes; 0: this process; None: by the host's cores
    data.max_bad = 0.001  # largest share of damaged pairs to skip; above it, the run ends
    data.cache = False  # keep the prepared evaluation images in memory
    return data


def _augment() -> ConfigDict:
    augment = ConfigDict()
    augment.ratio = (0.5, 2.0)  # uniform factor of data.resize
    augment.cat_max_ratio = 0.75  # share of a crop that one class may have; 1: any
    augment.hflip = 0.5  # probability
    augment.photometric = True  # random brightness, contrast, saturation and hue
    return augment


def _loss() -> ConfigDict:
    loss = ConfigDict()
    # Divide by all pixels, as mmsegmentation, or by the labelled pixels only: all | valid
    loss.normalizer = "all"
    loss.aux_weight = 0.4  # of the auxiliary head
    loss.class_weights = ()  # one for each class; (): 1 for all
    loss.ohem_threshold = optional(float)  # e.g. 0.7: only pixels with a lower probability count
    loss.ohem_min_kept = 100_000  # pixels of an image that count at least
    return loss


def _evaluation(section: ConfigDict) -> None:
    section.every_steps = 16_000
    section.method = "slide"  # whole | slide
    section.crop = optional(int)  # slide only: pixels on a side of a window; None: image_size
    section.stride = optional(int)  # slide only: pixels from window to window; None: 2/3 of crop
    section.scales = (1.0,)  # factors of data.resize; with several, eval/miou_ms is their mean's
    section.flip = False  # mirrored views too
    section.multiple = 1  # both sides are resized up to a multiple of this


def digits(config: ConfigDict) -> None:
    """Makes this task's part of the variant `digits`: small scenes with digits, a narrow head."""
    config.batch_size = config.optim.lr_batch_size = 16
    config.total_steps = 600
    config.schedule.warmup_steps = 40
    config.optim.lr = 0.02 if config.optim.name == "sgd" else 3e-3
    if hasattr(create_model(config.model.name).backbone, "layer_scale_init"):
        config.model.layer_scale_init = 1.0
    config.head.channels = 32
    config.loss.class_weights = (0.4, *[1.0] * 10)  # nine tenths of the pixels are background
    config.log.every_steps = 20
    config.checkpoint.every_steps = config.eval.every_steps = 200
    config.data.name = "digit_scenes"
    config.data.image_size = 96
    config.data.resize = (160, 112)
    config.data.workers = 0
    config.data.cache = True
    config.augment.ratio = (0.8, 1.25)
    config.augment.cat_max_ratio = 1.0
    config.augment.hflip = 0.0  # a mirrored digit is another sign
    config.augment.photometric = False
    config.eval.method = "slide"  # scenes have many sizes, and windows one


def debug(config: ConfigDict) -> None:
    """Makes this task's part of the variant `debug`: small synthetic images and narrow heads."""
    config.data.name = "synthetic"
    config.data.image_size = 64
    config.data.resize = (128, 64)
    config.data.workers = 0
    config.model.depthwise_impl = "conv"  # compiles in less time
    config.head.channels = 32
    config.eval.crop = config.eval.stride = None
    config.model.num_classes = 4
    config.loss.class_weights = ()
