"""The preliminary study on ConvNeXt-T's kernels (InceptionNeXt, Table 10), one variant per row.

    python main.py --config=configs/preliminary.py:k3_par4 --workdir=/ckpt

Reported top-1: k5 82.0 %, k3 81.5, k3_par2 81.4, k3_par3_8 81.4, k3_par4 81.3, k3_par8 80.8,
k3_par16 80.1 (3×3 on the share of channels after `par`). The recipe is InceptionNeXt-T's with
averaged weights, as in the authors' scripts. Without a variant it is the first row, ConvNeXt-T
itself, whose 82.1 % the paper takes from ConvNeXt's.
"""

import functools

from configs import default, tiny

ROWS = ("k5", "k3", "k3_par2", "k3_par3_8", "k3_par4", "k3_par8", "k3_par16")


def get_config(arg=""):
    config = tiny.get_config()
    config.model.name = "convnext_tiny"
    config.ema_decay = 0.9999
    config.checkpoint.best_metric = "eval_ema/top1"
    rows = {row: functools.partial(change, row) for row in ROWS}
    return default.finish(config, arg, rows)


def change(row, config):
    config.model.name = f"convnext_tiny_{row}"
