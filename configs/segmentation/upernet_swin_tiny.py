r"""UperNet with Swin-T on ADE20K. Reported: 45.8 % mIoU, 60 M, 945 G MACs.

    python main.py --config=configs/segmentation/upernet_swin_tiny.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/swin_tiny_patch4_window7_224.ms_in1k

The row of InceptionNeXt's Table 5 and of ConvNeXt's Table 4, with several scales and mirrored
views (`:ms`); the authors' repository reports 44.5 % with one.
"""

from configs.segmentation import recipe


def get_config(arg=""):
    return recipe.finish(recipe.swin("swin_tiny", drop_path_rate=0.3), arg)
