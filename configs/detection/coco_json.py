r"""Detection in images and COCO-format annotations of your own, from a classifier's weights.

    python main.py --config=configs/detection/coco_json.py --mode=plan --config.data.dir=~/mine
    python main.py --config=configs/detection/coco_json.py --workdir=out/mine \
        --config.data.dir=~/mine --config.init_from=hf://timm/inception_next_tiny.sail_in1k

The folder has annotations/instances_{train,val}.json and the images in train/ and val/. Where they
lie elsewhere, set data.train_json, data.eval_json, data.train_split and data.eval_split. The first
command says what does not fit, and what the settings below mean for these images.
docs/detection.md walks through an example.

Network: Mask R-CNN with InceptionNeXt-T, 44 M parameters. Objects without a mask: take
model.name=retinanet_inceptionnext_tiny, which learns boxes only. Where boxes have to be exact:
cascade_mask_rcnn_inceptionnext_tiny.
Size: data.resize fits evaluation images into 1333 × 800 pixels, enlarging small ones;
augment.shorts varies the short side in training. Anchors have sides of 32 to 512 pixels after that,
so enlarge images whose objects are smaller. Each shape in data.canvases costs a compiled step; the
plan says which one is missing.
Rate: 2e-4 for 16 images, scaled with the batch.
Length: 12 epochs, whatever the number of images. With fewer than about 2,000 images take more:
total_epochs=36, schedule.decay_epochs=(27,33). The best checkpoint is kept by eval/box_ap.
Memory: a batch of 8 at this size needs a large accelerator; lower batch_size, or the sizes, or set
model.remat=True.
BatchNorm: statistics of the whole batch; with fewer than about 8 images set head.frozen_norm=True.
Augmentation: set augment.hflip=0 where left and right differ.
Few images: freeze the first stages with --config.optim.freeze='^backbone/(stem|stages_[01])/'.
Evaluation: with --mode=eval, eval.scales and eval.flip add more views.
"""

from configs import default
from configs.tasks import detection


def get_config(arg=""):
    config = detection.get_config()
    config.data.name = "coco"
    config.data.train_split = "train"
    config.data.eval_split = "val"
    config.batch_size = 8
    config.augment.shorts = (640, 672, 704, 736, 768, 800)
    config.schedule.warmup_steps = 200
    config.log.every_steps = 20
    config.checkpoint.every_steps = config.eval.every_steps = 500
    return default.finish(config, arg)
