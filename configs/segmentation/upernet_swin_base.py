r"""UperNet with Swin-B on ADE20K. Reported: 49.7 % mIoU, 121 M, 1,188 G MACs.

    python main.py --config=configs/segmentation/upernet_swin_base.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/swin_base_patch4_window7_224.ms_in1k

The row of InceptionNeXt's Table 5 and of ConvNeXt's Table 4, with several scales and mirrored
views (`:ms`); the authors' repository reports 48.1 % with one.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    return recipe.finish(recipe.swin("swin_base", drop_path_rate=0.3), arg)
