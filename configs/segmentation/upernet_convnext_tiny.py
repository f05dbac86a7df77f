r"""UperNet with ConvNeXt-T on ADE20K (Table 4). Reported: 46.7 % mIoU, 60 M, 939 G MACs.

    python main.py --config=configs/segmentation/upernet_convnext_tiny.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/convnext_tiny.fb_in1k

The reported mIoU is of several scales and mirrored views (`:ms`); the authors' repository
reports 46.0 % with one. Trained weights: `--mode=eval
--checkpoint=hf://openmmlab/upernet-convnext-tiny`.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    return recipe.finish(recipe.convnext("convnext_tiny", drop_path_rate=0.4), arg)
