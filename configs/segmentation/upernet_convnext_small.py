r"""UperNet with ConvNeXt-S on ADE20K (Table 4). Reported: 49.6 % mIoU, 82 M, 1,027 G MACs.

    python main.py --config=configs/segmentation/upernet_convnext_small.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/convnext_small.fb_in1k

The reported mIoU is of several scales and mirrored views (`:ms`); the authors' repository
reports 48.7 % with one. Trained weights: `--mode=eval
--checkpoint=hf://openmmlab/upernet-convnext-small`.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    return recipe.finish(recipe.convnext("convnext_small", drop_path_rate=0.3), arg)
