"""The config keys of object detection: data, augmentation, loss, heads and evaluation.

`configs/default.py` has the others.
"""

from ml_collections import ConfigDict

from configs.default import optional, shared
from inceptionnext_jax import create_model


def get_config() -> ConfigDict:
    """Returns the defaults: Mask R-CNN on COCO by PVT's and PoolFormer's recipe of 12 epochs."""
    config = shared("detection")
    config.batch_size = 16
    config.total_epochs = 12.0
    config.model.name = "mask_rcnn_inceptionnext_tiny"
    config.model.bn_group_size = 0  # synchronised BatchNorm: statistics of the whole batch
    del config.model.head, config.model.head_init_scale  # of classifiers
    config.head = _head()
    config.data = _data()
    config.augment = _augment()
    config.loss = _loss()
    config.optim.lr = 2e-4
    config.optim.lr_batch_size = 16
    config.optim.weight_decay = 1e-4
    config.schedule.name = "step"
    config.schedule.per = "step"
    config.schedule.decay_epochs = (8, 11)
    config.schedule.warmup_epochs = 0.0  # warmup_steps count
    config.schedule.warmup_steps = 500
    config.schedule.warmup_factor = 0.001
    config.schedule.min_lr = 0.0
    config.schedule.cooldown_epochs = 0.0
    config.eval.every_steps = 7330  # an epoch of COCO
    config.eval.scales = (1.0,)  # factors of data.resize; several add eval/box_ap_ms of all views
    config.eval.flip = False  # mirrored views too
    config.checkpoint.best_metric = "eval/box_ap"
    config.checkpoint.every_steps = 2000
    return config


def _head() -> ConfigDict:
    head = ConfigDict()  # None: the system's own
    head.channels = optional(int)  # of the pyramid and of the heads' convolutions
    head.fc_channels = optional(int)  # of the linear layers of box heads; not of retinanet
    head.proposals = optional(int)  # of an image (RPN), or of a level (RetinaNet)
    head.rois = optional(int)  # proposals that train the box heads; not of retinanet
    head.detections = optional(int)  # of an image, at most
    # none | batch | group | layer: a norm of each of the backbone's maps; None: the backbone's own
    head.out_norm = optional(str)
    head.frozen_norm = optional(bool)  # the backbone's BatchNorms keep their running statistics
    head.roi_align_impl = optional(str)  # auto | dense | tiled; not of retinanet
    return head


def _data() -> ConfigDict:
    data = ConfigDict()
    data.name = "coco"  # coco (and all data in its format) | digit_scenes | synthetic
    data.dir = optional(str)  # folder with annotations/ and images
    data.train_split = "train2017"  # folder of images in it
    data.eval_split = "val2017"
    data.train_json = optional(str)  # None: annotations/instances_<split>.json
    data.eval_json = optional(str)
    data.resize = (1333, 800)  # of evaluation: longest long side and longest short side
    # Height and width of the shapes to which images are padded, a compiled step each
    data.canvases = ((800, 1344), (1344, 800))
    data.max_objects = 100  # of an image; training leaves others out
    data.mask_size = 112  # pixels on a side, at which the mask in an object's box is stored
    data.workers = optional(int)  # loader processes; 0: this process; None: by the host's cores
    data.max_bad = 0.001  # largest share of damaged images to skip; above it, the run ends
    data.cache = False  # keep the prepared evaluation images in memory
    return data


def _augment() -> ConfigDict:
    augment = ConfigDict()
    augment.shorts = (800,)  # pixels of the short side, of which one is drawn
    augment.long = 1333  # longest long side
    augment.hflip = 0.5  # probability
    augment.crop_prob = 0.0  # probability of a random crop before the resizing
    augment.crop_shorts = (400, 500, 600)  # pixels of the short side before a crop
    augment.crop = (384, 600)  # least and greatest side of a crop
    return augment


def _loss() -> ConfigDict:
    loss = ConfigDict()  # weights of the terms, of all stages of a cascade
    loss.rpn_weight = 1.0
    loss.cls_weight = 1.0
    loss.box_weight = 1.0
    loss.mask_weight = 1.0
    return loss


def digits(config: ConfigDict) -> None:
    """Makes this task's part of the variant `digits`: small scenes with digits, narrow heads."""
    config.batch_size = config.optim.lr_batch_size = 8
    is_retinanet = config.model.name.startswith("retinanet_")  # learns to tell classes more slowly
    config.total_steps = 2000 if is_retinanet else 700
    config.schedule.name = "cosine"
    config.schedule.warmup_steps = 50
    config.schedule.warmup_factor = 0.01
    config.optim.lr = 0.02 if config.optim.name == "sgd" else 2e-3
    config.optim.clip_norm = 5.0
    config.optim.freeze, config.head.frozen_norm = "", None  # nothing is trained before
    if hasattr(create_model(config.model.name).backbone, "layer_scale_init"):
        config.model.layer_scale_init = 1.0
    channels = 64 if is_retinanet else 48
    _narrow(config, channels=channels, fc_channels=192, proposals=64, rois=48, detections=30)
    config.log.every_steps = 20
    config.checkpoint.every_steps = config.eval.every_steps = config.total_steps // 2
    config.data.name = "digit_scenes"
    config.data.resize = (128, 128)
    config.data.canvases = ((128, 128),)
    config.data.max_objects = 4
    config.data.mask_size = 56
    config.data.workers = 0
    config.data.cache = True
    config.augment.shorts = (96, 104, 112, 120, 128)
    config.augment.long = 128
    config.augment.hflip = 0.0  # a mirrored digit is another sign
    config.augment.crop_prob = 0.0


def debug(config: ConfigDict) -> None:
    """Makes this task's part of the variant `debug`: small synthetic images and narrow heads."""
    config.data.name = "synthetic"
    config.data.resize = (128, 96)
    config.data.canvases = ((128, 128),)
    config.data.max_objects = 8
    config.data.mask_size = 28
    config.data.workers = 0
    config.augment.shorts = (80, 96)
    config.augment.long = 128
    config.augment.crop_shorts = (64, 80)
    config.augment.crop = (48, 64)
    config.model.depthwise_impl = "conv"  # compiles in less time
    config.model.num_classes = 4
    config.eval.scales = (1.0,)
    config.eval.flip = False
    _narrow(config, channels=32, fc_channels=64, proposals=32, rois=16, detections=20)


def _narrow(
    config: ConfigDict, channels: int, fc_channels: int, proposals: int, rois: int, detections: int
) -> None:
    """Sets the sizes of the heads."""
    config.head.channels, config.head.detections = channels, detections
    config.head.proposals = proposals
    if not config.model.name.startswith("retinanet_"):
        config.head.fc_channels, config.head.rois = fc_channels, rois
