r"""Fine-tuning on a folder of images, DIR/{train,val}/<class>/*.jpg, from given weights.

    python main.py --config=configs/finetune.py --workdir=out/pets --config.data.dir=~/pets \
        --config.init_from=hf://timm/inception_next_tiny.sail_in1k

The classes are the folders' names; the classifier's last layer is re-initialised where their
number differs from the weights'. docs/finetuning.md walks through an example.

Rate: the authors fine-tune with AdamW at a constant 5e-5 for 1,024 images. The same rate is used
here for 64 images, since a small data set has few steps, and is not scaled with the batch
(`optim.lr_batch_size=0`); a new head learns ten times as fast. Raise `optim.lr` if the loss still
falls at the end, lower it if the first evaluations are worse than later ones.
Augmentation: crops, flips and slight colour jitter. Mixing, RandAugment and erasing are off, as
they need many epochs; the authors' own are augment.rand_augment=rand-m9-mstd0.5-inc1 and
augment.random_erasing=0.25. Set augment.hflip=0 where a mirrored image means something else.
BatchNorm: statistics are those of the whole batch (`model.bn_group_size=0`). Keep 32 or more
images in a batch, at least 16: smaller ones make the statistics noisy. With optim.accumulate, set
model.bn_group_size to the size of a micro-batch.
Few images: freeze the first stages with --config.optim.freeze='^(stem|stages_[01])/'. Parameters
that match keep their bits; BatchNorm's running statistics still follow the new images.
Variant: `:multilabel` for DIR/{train,val}.csv with several labels per image (docs/data.md).
"""

from configs import default
from configs.tasks import classification


def get_config(arg=""):
    config = classification.get_config()
    config.data.name = "folder"
    config.batch_size = 64
    config.total_epochs = 20.0
    config.model.drop_path_rate = 0.1
    config.model.bn_group_size = 0
    config.optim.lr = 5e-5
    config.optim.lr_batch_size = 0
    config.optim.lr_mult = ((r"^head/", 10.0),)
    config.schedule.per = "step"
    config.schedule.warmup_epochs = 1.0
    config.schedule.warmup_lr = config.schedule.min_lr = 1e-6
    config.schedule.cooldown_epochs = 0.0
    config.augment.scale = (0.25, 1.0)
    config.augment.rand_augment = ""
    config.augment.color_jitter = 0.2
    config.augment.mixup = config.augment.cutmix = 0.0
    config.augment.mix_group_size = 0
    config.augment.random_erasing = 0.0
    config.log.every_steps = 10
    config.checkpoint.every_steps = config.eval.every_steps = 100
    return default.finish(config, arg, {"multilabel": multilabel})


def multilabel(config):
    """Any number of labels per image: one yes-or-no question per class."""
    config.loss.name = "bce"
    config.loss.label_smoothing = 0.0
    config.checkpoint.best_metric = "eval/map"
