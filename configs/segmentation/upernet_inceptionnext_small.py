r"""UperNet with InceptionNeXt-S on ADE20K (Table 5). Reported: 50.0 % mIoU, 78 M, 1,020 G MACs.

    python main.py --config=configs/segmentation/upernet_inceptionnext_small.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/inception_next_small.sail_in1k

The reported mIoU is of several scales and mirrored views, which `:ms` with --mode=eval
measures beside the plain one. The paper follows Swin's config; the rate of drop path is the
supplement's (Table 2).
"""

from configs.segmentation import recipe


def get_config(arg=""):
    return recipe.finish(recipe.swin("inceptionnext_small", drop_path_rate=0.3), arg)
