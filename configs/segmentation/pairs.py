r"""Segmentation of images and label maps of your own, from a classifier's weights.

    python main.py --config=configs/segmentation/pairs.py --mode=plan --to=labels.png \
        --config.data.dir=~/mine
    python main.py --config=configs/segmentation/pairs.py --workdir=out/mine \
        --config.data.dir=~/mine --config.init_from=hf://timm/inception_next_tiny.sail_in1k

The folder has classes.txt, images/{train,val}/NAME.jpg and labels/{train,val}/NAME.png. The first
command counts and draws its labels; look at them before you train. docs/segmentation.md walks
through an example.

Network: UperNet with InceptionNeXt-T, 56 M parameters. With
model.name=semantic_fpn_inceptionnext_tiny it has half of the parameters and heads with a tenth of
the work.
Size: data.resize fits each image into 2048 × 512 pixels, enlarging small ones; augment.ratio varies
that, and training sees crops of data.image_size. Where objects are small, raise both:
data.image_size=640, data.resize=(2560,640). Where the scale of images is fixed, as under a
microscope, narrow the variation: augment.ratio=(0.8,1.25).
Rate: Swin's 6e-5 for trained weights, ten times as much for the new heads, not scaled with the
batch. Raise optim.lr if the loss still falls at the end.
Length: 4,000 steps of 8 images, whatever their number. With fewer than about 100 images the best
checkpoint (kept by eval/miou) may be an early one.
Loss: pixels without a label do not count. Where one class covers nearly all, give the others more
weight with loss.class_weights; the plan prints the share of each.
BatchNorm: statistics of the whole batch. UperNet pools maps to one pixel, so a batch of 8 has 8
values to normalise there; do not take less. With optim.accumulate, set model.bn_group_size to the
size of a micro-batch.
Augmentation: set augment.hflip=0 where left and right differ, augment.photometric=False where
colour decides.
Few images: freeze the first stages with --config.optim.freeze='^backbone/(stem|stages_[01])/'.
Evaluation: windows of data.image_size, one view. With --mode=eval, eval.scales and eval.flip add
more views.
"""

from configs import default
from configs.tasks import segmentation


def get_config(arg=""):
    config = segmentation.get_config()
    config.data.name = "pairs"
    config.data.train_split = "train"
    config.data.eval_split = "val"
    config.batch_size = 8
    config.total_steps = 4000
    config.model.drop_path_rate = 0.1
    config.optim.lr_batch_size = 0
    config.optim.lr_mult = ((r"^(neck|decode_head|auxiliary_head)/", 10.0),)
    config.schedule.warmup_steps = 200
    config.loss.normalizer = "valid"
    config.log.every_steps = 20
    config.checkpoint.every_steps = config.eval.every_steps = 400
    return default.finish(config, arg)
