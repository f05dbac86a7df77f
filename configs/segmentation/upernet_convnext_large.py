r"""UperNet with ConvNeXt-L on ADE20K (Table 4). Reported: 53.7 % mIoU, 235 M, 2,458 G MACs.

    python main.py --config=configs/segmentation/upernet_convnext_large.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/convnext_large.fb_in22k

From weights of ImageNet-22K, at 640 pixels: no row of ImageNet-1K is published, and without a
variant this is `:22k`. The reported mIoU is of several scales and mirrored views (`:ms`); the
authors' repository reports 53.2 % with one. Trained weights: `--mode=eval
--checkpoint=hf://openmmlab/upernet-convnext-large`.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    config = recipe.convnext("convnext_large", drop_path_rate=0.4)
    chosen = "22k" in arg.split(",")
    return recipe.finish(config, arg if chosen else f"22k,{arg}", {"22k": recipe.from_22k})
