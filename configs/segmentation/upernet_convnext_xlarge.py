r"""UperNet with ConvNeXt-XL on ADE20K (Table 4). Reported: 54.0 % mIoU, 391 M, 3,335 G MACs.

    python main.py --config=configs/segmentation/upernet_convnext_xlarge.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/convnext_xlarge.fb_in22k

From weights of ImageNet-22K, at 640 pixels: no row of ImageNet-1K is published, and without a
variant this is `:22k`. The reported mIoU is of several scales and mirrored views (`:ms`); the
authors' repository reports 53.6 % with one. Trained weights: `--mode=eval
--checkpoint=hf://openmmlab/upernet-convnext-xlarge`.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    config = recipe.convnext("convnext_xlarge", drop_path_rate=0.4)
    config.optim.lr = 8e-5
    chosen = "22k" in arg.split(",")
    return recipe.finish(config, arg if chosen else f"22k,{arg}", {"22k": recipe.from_22k})
