"""Every config key with its default, unit and meaning. No other file may add a key.

The other files in this folder are short settings over this one. A run is described by one of them
and by overrides on the command line (`--config.optim.lr=1e-3`). `None` means unset.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, config_dict

from inceptionnext_jax import model_info

Variant = Callable[[ConfigDict], None]


def optional(kind: type) -> Any:
    """A key that may stay unset (None) and otherwise holds a value of `kind`."""
    return config_dict.placeholder(kind)


def get_config(arg: str = "") -> ConfigDict:
    """The defaults: the recipe of InceptionNeXt-T (supplement, Table 1)."""
    config = ConfigDict()
    config.seed = 42
    config.task = "classification"
    config.batch_size = 4096  # images of an optimizer step, over all devices
    config.total_epochs = 300.0  # without schedule.cooldown_epochs, which follow
    config.total_steps = 0  # > 0: replaces total_epochs and cooldown_epochs
    config.compute_dtype = "float32"  # float32 | bfloat16 | float64
    config.model = _model()
    config.init_from = optional(str)  # workdir, step, weight file or hf://owner/name
    config.data = _data()
    config.augment = _augment()
    config.loss = ConfigDict()
    config.loss.name = "softmax"  # softmax | bce
    config.loss.label_smoothing = 0.1
    config.optim = _optim()
    config.ema_decay = optional(float)  # e.g. 0.9999: average weights and BatchNorm statistics too
    config.schedule = _schedule()
    _housekeeping(config)
    return finish(config, arg)


def _model() -> ConfigDict:
    model = ConfigDict()
    model.name = "inceptionnext_tiny"
    model.num_classes = optional(int)  # None: as many as the data has
    model.drop_path_rate = 0.1  # of the last block; the first block's is 0, linear in between
    model.dropout_rate = 0.0  # before the classifier
    model.bn_group_size = 128  # images that share BatchNorm statistics; 0: the whole batch
    model.stage_depths = optional(tuple)  # e.g. (2, 2, 6, 2); None: the model's own
    # Recompute blocks in the backward pass, for less memory and more time: False | True or "full"
    # (whole blocks) | dots (all but linear layers) | mixer (all but the token mixer)
    model.remat = config_dict.FieldReference(False, field_type=object)
    model.scan = False  # one compiled block a stage, parameters stacked: compiles faster
    model.depthwise_impl = "auto"  # auto | conv | shift
    model.output_stride = 32  # 8 | 16 | 32: the last map's; below 32 by dilation
    model.head_init_scale = 1.0  # factor of the classifier's first weights
    # One thing changed in a named model; None: its own.
    model.token_mixer = optional(str)  # attention | depthwise | identity | inception |
    # partial_depthwise | pool
    model.kernel_size = optional(int)  # of the mixer, odd
    model.mixer_ratio = optional(float)  # share of channels in each of the mixer's convolutions
    model.norm = optional(str)  # batch | layer
    model.head = optional(str)  # linear | mlp
    model.layer_scale_init = optional(float)  # first value of blocks' gamma; 0: none
    model.width = optional(float)  # of vanillanet: factor of all channels
    model.act_num = optional(int)  # of vanillanet: positions to each side that activations see
    return model


def _data() -> ConfigDict:
    data = ConfigDict()
    data.name = "imagenet2012"  # a TFDS name | folder | digits | synthetic
    data.dir = optional(str)  # where TFDS data or the image folder lies
    data.image_size = 224  # pixels, square
    data.train_split = "train"
    data.eval_split = "validation"
    data.workers = optional(int)  # loader processes; 0: this process; None: by the host's cores
    data.interpolation = "bicubic"  # of evaluation: bicubic | bilinear
    data.crop_pct = optional(float)  # centre crop / resized short side; None: the model's own
    data.max_bad = 0.001  # share of undecodable images that is skipped over; above, the run ends
    data.cache = False  # keep decoded evaluation images in memory (147 KiB each at 224)
    return data


def _augment() -> ConfigDict:
    augment = ConfigDict()
    augment.scale = (0.08, 1.0)  # of the random-resized crop: share of the area
    augment.ratio = (3 / 4, 4 / 3)  # of the random-resized crop: width / height
    augment.hflip = 0.5  # probability
    augment.interpolation = "random"  # of training: random (either) | bilinear | bicubic
    augment.rand_augment = "rand-m9-mstd0.5-inc1"  # timm's strings; "": off
    augment.mixup = 0.8  # alpha of Beta(alpha, alpha); 0: off
    augment.cutmix = 1.0  # alpha; 0: off
    augment.mix_prob = 1.0  # probability of mixing at all
    augment.mix_switch_prob = 0.5  # probability of CutMix where both are on
    augment.mix_group_size = 128  # images that share one draw and mix; 0: the whole batch
    augment.random_erasing = 0.25  # probability
    augment.erasing_count = 1  # rectangles at most
    augment.color_jitter = 0.4  # used only where rand_augment is off, as in timm; 0: off
    augment.order = "inceptionnext"  # inceptionnext: mix, normalise, erase | convnext: erase first
    return augment


def _optim() -> ConfigDict:
    optim = ConfigDict()
    optim.name = "adamw"  # adamw | lamb | sgd (Nesterov)
    optim.lr = 4e-3  # peak, for lr_batch_size images
    optim.lr_batch_size = 4096  # lr scales linearly from here; 0: no scaling
    optim.weight_decay = 0.05  # on kernels only; decoupled but for sgd
    optim.b1 = 0.9  # of adamw and lamb, as are b2 and eps
    optim.b2 = 0.999
    optim.eps = 1e-8
    optim.momentum = 0.9  # of sgd
    optim.clip_norm = optional(float)  # global gradient norm
    optim.accumulate = 1  # micro-batches of an optimizer step
    optim.freeze = ""  # regex over parameter paths that stay as they are
    optim.lr_mult = ()  # ((regex, factor), ...): first match counts
    optim.layer_decay = optional(float)  # e.g. 0.8: the rate's factor from a layer to the one below
    return optim


def _schedule() -> ConfigDict:
    schedule = ConfigDict()
    schedule.name = "cosine"  # cosine | constant | poly | step
    schedule.warmup_epochs = 20.0
    schedule.warmup_lr = 1e-6
    schedule.min_lr = 1e-5  # at which cosine and poly end
    schedule.cooldown_epochs = 10.0  # at the last rate, after total_epochs
    schedule.per = "epoch"  # the rate changes every: epoch | step
    schedule.power = 1.0  # of poly
    schedule.decay_epochs = ()  # of step: when the rate falls, e.g. (27, 33)
    schedule.decay_rate = 0.1  # of step: the factor by which it falls
    # Of vanillanet: epochs in which the activations' slope rises from 0 to 1, constant within each;
    # 0: it stays as the weights have it, which is 1 in new ones.
    schedule.slope_epochs = 0.0
    schedule.slope_name = "linear"  # linear | cosine
    return schedule


def _housekeeping(config: ConfigDict) -> None:
    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000  # 0: only at the end
    config.checkpoint.asynchronous = True  # go on while the disk is written to
    config.checkpoint.keep_latest = 2
    config.checkpoint.keep_best = 1
    config.checkpoint.best_metric = "eval/top1"
    config.eval = ConfigDict()
    config.eval.every_steps = 1000  # 0: only at the end
    config.stop = ConfigDict()
    config.stop.patience = optional(int)  # evaluations without a better best_metric
    config.log = ConfigDict()
    config.log.every_steps = 50
    config.log.tensorboard = True
    config.log.wandb = False
    config.profile = ConfigDict()
    config.profile.start = 10  # first profiled step
    config.profile.steps = 0  # 0: no profile
    config.on_nan = "stop"  # stop | skip (leave the update out and go on)
    config.skip_limit = 10  # on_nan=skip: more updates left out in a row stop the run
    config.debug_nans = False  # find the operation that made a NaN (slow)
    config.compilation_cache = "~/.cache/inceptionnext_jax/xla"  # "": off
    config.mesh = ConfigDict()
    config.mesh.data = -1  # -1: all devices over mesh.fsdp
    config.mesh.fsdp = 1  # devices that share one copy of the parameters


class UnknownVariantError(ValueError):
    """A variant that a config file does not have; `known` are those that it has."""

    known: Sequence[str] = ()


def finish(
    config: ConfigDict, arg: str, variants: Mapping[str, Variant] | None = None
) -> ConfigDict:
    """Applies the variants named after the colon (`configs/tiny.py:debug`), separated by commas."""
    shrinking = {"digits": digits, "debug": debug}
    known = {**(variants or {}), **shrinking}
    names = list(filter(None, arg.split(",")))
    for name in names:
        if name not in known:
            error = UnknownVariantError(
                f"unknown config variant {name!r}; expected one of {sorted(known)}"
            )
            error.known = sorted(known)
            raise error
    # These two shrink whatever the other variants made, so they come last.
    for name in [name for name in names if name not in shrinking]:
        known[name](config)
    for name in [name for name in shrinking if name in names]:
        known[name](config)
    return config


def same_as_paper(config: ConfigDict) -> None:
    """The variant `script` of a row whose script and paper agree."""


def digits(config: ConfigDict) -> None:
    """Trains a shallow net of the same kind on scikit-learn's handwritten digits, in minutes.

    Model, optimizer, loss and average keep their names; what ImageNet needs and digits do not
    (augmentation, drop path, long schedules) is left out.
    """
    depths = model_info(config.model.name).stage_depths
    config.model.stage_depths = tuple(2 if depth == max(depths) else 1 for depth in depths)
    config.model.num_classes = None
    config.model.drop_path_rate = 0.0
    config.model.bn_group_size = 0
    config.data.name = "digits"
    config.data.image_size = 32 if len(depths) > 1 else 64  # patches of 4 or of 16 pixels
    config.data.crop_pct = 1.0
    config.data.workers = 0
    config.batch_size = config.optim.lr_batch_size = 128
    config.total_epochs = 30.0
    config.optim.lr = 2e-3
    config.schedule.warmup_epochs = 2.0
    config.schedule.cooldown_epochs = 0.0
    config.schedule.slope_epochs = min(config.schedule.slope_epochs, 10.0)
    config.schedule.per = "step"
    config.augment.scale = (0.6, 1.0)
    config.augment.hflip = 0.0  # a mirrored digit is another sign
    config.augment.rand_augment = ""
    config.augment.color_jitter = 0.0
    config.augment.mixup = config.augment.cutmix = 0.0
    config.augment.mix_group_size = 0
    config.augment.random_erasing = 0.0
    if config.ema_decay is not None:
        config.ema_decay = 0.98  # of 330 steps
    config.log.every_steps = 11  # an epoch
    config.checkpoint.every_steps = config.eval.every_steps = 55


def debug(config: ConfigDict) -> None:
    """Two steps on synthetic images, everything small: shows that a config runs."""
    config.total_steps = 2
    config.batch_size = 8
    config.data.name = "synthetic"
    # These images have one label each.
    config.checkpoint.best_metric = config.checkpoint.best_metric.replace("/map", "/top1")
    config.data.image_size = 64
    config.data.workers = 0
    config.model.stage_depths = tuple(1 for _ in model_info(config.model.name).stage_depths)
    config.model.bn_group_size = min(config.model.bn_group_size, 8)
    config.augment.mix_group_size = min(config.augment.mix_group_size, 8)
    config.log.every_steps = 1
    config.checkpoint.every_steps = 0
    config.eval.every_steps = 0
