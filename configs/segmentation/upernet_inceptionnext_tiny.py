r"""UperNet with InceptionNeXt-T on ADE20K (Table 5). Reported: 47.9 % mIoU, 56 M, 933 G MACs.

    python main.py --config=configs/segmentation/upernet_inceptionnext_tiny.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/inception_next_tiny.sail_in1k

The reported mIoU is of several scales and mirrored views, which `:ms` with --mode=eval
measures beside the plain one. The paper follows Swin's config; the rate of drop path is the
supplement's (Table 2).
"""

from configs.segmentation import recipe


def get_config(arg=""):
    return recipe.finish(recipe.swin("inceptionnext_tiny", drop_path_rate=0.2), arg)
