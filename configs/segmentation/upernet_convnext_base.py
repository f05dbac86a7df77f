r"""UperNet with ConvNeXt-B on ADE20K (Table 4). Reported: 49.9 % mIoU, 122 M, 1,170 G MACs.

    python main.py --config=configs/segmentation/upernet_convnext_base.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/convnext_base.fb_in1k

The reported mIoU is of several scales and mirrored views (`:ms`); the authors' repository
reports 49.1 % with one. Trained weights: `--mode=eval
--checkpoint=hf://openmmlab/upernet-convnext-base`.

Variant `:22k`, from --config.init_from=hf://timm/convnext_base.fb_in22k: 640 pixels; reported
53.1 % (52.6 % with one view), 1,828 G MACs.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    config = recipe.convnext("convnext_base", drop_path_rate=0.4)
    return recipe.finish(config, arg, {"22k": recipe.from_22k})
