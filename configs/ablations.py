"""The ablation study of InceptionNeXt-T (experiments, table of ablations), one variant per row.

    python main.py --config=configs/ablations.py:no_hband --workdir=/ckpt

Reported top-1: no_hband 81.9 %, no_vband 81.9, no_square 82.0, sequential 82.1, band7 82.1,
band9 82.1, band13 82.0, ratio4 82.2, ratio16 81.8. Without a variant it is the baseline,
configs/tiny.py, 82.3 %, whose recipe the others share.
"""

import functools

from configs import default, tiny

BRANCHES = ("no_hband", "no_vband", "no_square", "sequential")
SIZES = ("band7", "band9", "band13", "ratio4", "ratio16")


def get_config(arg=""):
    rows = {row: functools.partial(change, row) for row in BRANCHES + SIZES}
    return default.finish(tiny.get_config(), arg, rows)


def change(row, config):
    config.model.name = f"inceptionnext_tiny_{row}"
